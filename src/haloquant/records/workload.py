"""The matrix products of a forward pass, and the tiles of a layer for the accelerator model."""

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
