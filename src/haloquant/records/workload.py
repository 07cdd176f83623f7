"""The matrix products of a forward pass, and the tiles of a layer for the accelerator model."""

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int, Int16, UInt8

from haloquant.records.accounting import BitCount
from haloquant.records.tiles import TileGrid


@dataclass(frozen=True, slots=True)
class Gemm:
    """One matrix product of a forward pass: [m, k] x [k, n].

    Attributes:
        layer: name of the layer.
        m: number of tokens.
        k: number of input features.
        n: number of output features.
        group: dependency group. Layers of one group may run in any order; groups run one after the other.
        count: number of such products (heads, experts, batch).
        weight_stationary: False for attention scores and values, whose operands are both activations.
    """

    layer: str
    m: int
    k: int
    n: int
    group: int
    count: int = 1
    weight_stationary: bool = True


@dataclass(frozen=True, slots=True)
class InputBits:
    """Bits of the rounded inputs of a layer.

    Attributes:
        bits: bits of an input.
        low_bits: bits of an input in a share of the tokens.
        low_share: share of these tokens, 0 to 1.
    """

    bits: int
    low_bits: int = 8
    low_share: float = 0.0

    @property
    def mean(self) -> float:
        """Bits of an input, as the mean over tokens."""
        return (1.0 - self.low_share) * self.bits + self.low_share * self.low_bits

    def passes(self, width: int) -> float:
        """Return how often multipliers that take inputs of `width` bits run over a token, as the mean over tokens."""
        high, low = math.ceil(self.bits / width), math.ceil(self.low_bits / width)
        return float(high) if not self.low_share else (1.0 - self.low_share) * high + self.low_share * low


@dataclass(frozen=True)
class LayerTiles:
    """The tiles of one quantized layer, for the accelerator model.

    Attributes:
        layer: name of the layer.
        grid: its tiles.
        classes: class of every tile.
        values: weight values, ascending; axis `v` of the histogram.
        histogram: how often each weight value occurs in each tile. Padding counts as value 0.
        sparse_nnz: number of sparse weights.
        bits: stored bits.
        branch_rank: rank of a side branch y += A (B x) in float16, whose factors are in `bits.branches`; 0 without.
        input_density: share of the inputs that a generated token multiplies; 1 where none is left out.
        input_bits: bits of its rounded inputs; None where they are as wide as the MAC's.
    """

    layer: str
    grid: TileGrid
    classes: UInt8[np.ndarray, "down across"]
    values: Int16[np.ndarray, " v"]
    histogram: Int[np.ndarray, "down across v"]
    sparse_nnz: int
    bits: BitCount
    branch_rank: int = 0
    input_density: float = 1.0
    input_bits: InputBits | None = None
