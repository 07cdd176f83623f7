"""A quantized layer: its tiles, the class of each tile, codes, scales and the sparse part."""

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from jaxtyping import Float32, Int8, Int32, UInt8

from haloquant.records.mac import Codebook


@dataclass(frozen=True, slots=True)
class TileGrid:
    """How a weight matrix is cut into array-sized blocks; the last row and column of tiles may be cut short."""

    out_features: int
    in_features: int
    tile_out: int  # columns C of a weight-stationary array
    tile_in: int  # rows R of the array, the direction of accumulation

    @property
    def down(self) -> int:
        """Number of tiles along the output features."""
        return -(-self.out_features // self.tile_out)

    @property
    def across(self) -> int:
        """Number of tiles along the input features."""
        return -(-self.in_features // self.tile_in)


@dataclass(frozen=True)
class TileMap:
    """The class (index into a tuple of codebooks) of every tile of one layer."""

    layer: str
    grid: TileGrid
    codebook: UInt8[np.ndarray, "down across"]


class SparseKind(IntEnum):
    """Why a weight is kept in the sparse part."""

    OUTLIER = 0
    SALIENT = 1


@dataclass(frozen=True)
class SparseWeights:
    """The few weights kept in 8 bits beside the dense part, sorted by row, then column.

    The weight's value is `values * scale[rows]`; the dense part holds the word 0 at these places.
    """

    rows: Int32[np.ndarray, " nnz"]
    cols: Int32[np.ndarray, " nnz"]
    values: Int8[np.ndarray, " nnz"]
    scale: Float32[np.ndarray, " out"]
    kind: UInt8[np.ndarray, " nnz"]


@dataclass(frozen=True)
class QuantizedWeight:
    """One linear layer in HALO form: `quant.layer.dequantize` is its meaning.

    W[o, i] = codebooks[class of tile (o, i)].values[codes[o, i]] * scale[o, i // tile_in] + sparse[o, i].
    Scales are representable in float16 (they are stored so) and may be negative.
    """

    layer: str
    codes: UInt8[np.ndarray, "out in"]
    scale: Float32[np.ndarray, "out across"]
    tiles: TileMap
    codebooks: tuple[Codebook, ...]
    sparse: SparseWeights
