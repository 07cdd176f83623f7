"""The matrix products of a forward pass, and the tiles that an accelerator sees."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Int, Int16, UInt8

from haloquant.records.accounting import BitCount
from haloquant.records.tiles import TileGrid


@dataclass(frozen=True, slots=True)
class Gemm:
    """One matrix product of a forward pass: [m, k] x [k, n], `count` times over (heads, experts, batch)."""

    layer: str
    m: int  # tokens
    k: int  # in features
    n: int  # out features
    group: int  # dependency group: layers of one group may run in any order, groups run one after the other
    count: int = 1
    weight_stationary: bool = True  # False for attention scores and values, whose operands are both activations


@dataclass(frozen=True)
class LayerTiles:
    """What the accelerator needs to know of one quantized layer.

    `histogram[d, a, v]` counts how often weight value `values[v]` stands in tile (d, a); padding counts as 0.
    """

    layer: str
    grid: TileGrid
    classes: UInt8[np.ndarray, "down across"]
    values: Int16[np.ndarray, " v"]
    histogram: Int[np.ndarray, "down across v"]
    sparse_nnz: int
    bits: BitCount
