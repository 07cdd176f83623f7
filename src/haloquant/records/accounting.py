"""Stored bits of a quantized layer, and what a rival method returns."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Int16

from haloquant.records.tiles import QuantizedWeight


@dataclass(frozen=True, slots=True)
class BitCount:
    """Stored bits of one or more layers, by what they store. Adds; `per_weight` is the honest figure."""

    weights: int = 0  # number of weights, padding excluded
    codes: int = 0
    scales: int = 0  # scales and zero points
    sparse: int = 0  # values, indices, row pointers, kinds
    codebooks: int = 0  # tables and class maps
    branches: int = 0  # low-rank or feedback side branches

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
        """Effective bits per weight of everything stored."""
        return self.total / self.weights


@dataclass(frozen=True)
class LayerResult:
    """What any quantization method, ours or a rival's, makes of one linear layer.

    `mac_values` are the integers the MAC array multiplies with (so that a rival is clocked and charged by the same
    profile); None where the method needs a floating-point multiplier.
    """

    layer: str
    weight: Float32[np.ndarray, "out in"]  # what the layer computes with
    bits: BitCount
    mac_values: Int16[np.ndarray, "out in"] | None = None
    quantized: QuantizedWeight | None = None
    notes: tuple[str, ...] = ()
