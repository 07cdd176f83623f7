"""Stored bits of a quantized layer, and the result of any quantization method on one layer."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Int16

from haloquant.records.tiles import QuantizedWeight


@dataclass(frozen=True, slots=True)
class BitCount:
    """Stored bits of one or more layers, by purpose. Counts can be added.

    Attributes:
        weights: number of weights (not bits), without padding.
        codes: bits of the codes, padding included.
        scales: bits of scales and zero points.
        sparse: bits of sparse weights: values, columns, row counts or row pointers, and kinds.
        codebooks: bits of codebooks and other tables, class maps and shapes.
        branches: bits of low-rank side branches.
    """

    weights: int = 0
    codes: int = 0
    scales: int = 0
    sparse: int = 0
    codebooks: int = 0
    branches: int = 0

    def __add__(self, other: "BitCount") -> "BitCount":
        return BitCount(
            self.weights + other.weights,
            self.codes + other.codes,
            self.scales + other.scales,
            self.sparse + other.sparse,
            self.codebooks + other.codebooks,
            self.branches + other.branches,
        )

    @property
    def total(self) -> int:
        """All stored bits."""
        return self.codes + self.scales + self.sparse + self.codebooks + self.branches

    @property
    def per_weight(self) -> float:
        """All stored bits divided by the number of weights."""
        return self.total / self.weights


@dataclass(frozen=True)
class LayerResult:
    """Result of a quantization method, HALO or a rival, on one linear layer.

    Attributes:
        layer: name of the layer.
        weight: the weights after quantization, as floating-point numbers.
        bits: stored bits.
        mac_values: integers that the MAC array multiplies with. The delay and energy of these integers are looked up
            in the MAC profile. None if the method needs a floating-point multiplier.
        quantized: the layer in HALO form; None for other methods.
        notes: sentences for the report.
        sparse_nnz: number of weights that are multiplied beside the array, one by one.
        branch_rank: rank of a side branch y += A (B x) in float16; 0 without.
    """

    layer: str
    weight: Float32[np.ndarray, "out in"]
    bits: BitCount
    mac_values: Int16[np.ndarray, "out in"] | None = None
    quantized: QuantizedWeight | None = None
    notes: tuple[str, ...] = ()
    sparse_nnz: int = 0
    branch_rank: int = 0
