"""A quantized layer: its tile grid, the class of each tile, codes, scales and sparse weights."""

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from jaxtyping import Float32, Int8, Int32, UInt8

from haloquant.records.mac import Codebook

CLASS_WORDS = (9, 16)  # words of the fast and of the slow class, where nothing else is asked for


@dataclass(frozen=True, slots=True)
class TileGrid:
    """How a weight matrix is divided into tiles of the array's size. The last row and column of tiles may be smaller.

    Attributes:
        out_features: output features of the layer.
        in_features: input features of the layer.
        tile_out: output features of a tile: the columns C of a weight-stationary array.
        tile_in: input features of a tile: the rows R of the array, along which it accumulates.
    """

    out_features: int
    in_features: int
    tile_out: int
    tile_in: int

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
    """The class of every tile of one layer: an index into a tuple of codebooks."""

    layer: str
    grid: TileGrid
    codebook: UInt8[np.ndarray, "down across"]


class SparseKind(IntEnum):
    """Why a weight is in the sparse part: it is far from the mean, or its Fisher information is large."""

    OUTLIER = 0
    SALIENT = 1


@dataclass(frozen=True)
class SparseWeights:
    """The weights that are kept in 8 bits outside the dense part, sorted by row, then column.

    A weight is values[i] * scale[rows[i]]. The dense part holds the word 0 at these places.

    Attributes:
        rows: output feature of each weight.
        cols: input feature of each weight.
        values: its integer value.
        scale: one for each output feature; a float16 value, 0 for rows without sparse weights.
        kind: `SparseKind` of each weight.
    """

    rows: Int32[np.ndarray, " nnz"]
    cols: Int32[np.ndarray, " nnz"]
    values: Int8[np.ndarray, " nnz"]
    scale: Float32[np.ndarray, " out"]
    kind: UInt8[np.ndarray, " nnz"]


@dataclass(frozen=True)
class QuantizedWeight:
    """One linear layer in HALO form.

    W[o, i] = codebooks[class of tile (o, i)].values[codes[o, i]] * scale[o, i // tile_in] + offset[o, i // tile_in]
    + sparse[o, i]; see `quant.layer.dequantize`.

    Attributes:
        layer: name of the layer.
        codes: index of each weight's word in the codebook of its tile.
        scale: one for each (output feature, tile along the inputs). Float16 holds it exactly; it may be negative.
        tiles: class of every tile.
        codebooks: one codebook for each class.
        sparse: weights kept outside the dense part.
        offset: added to every weight of an (output feature, tile along the inputs); None is 0. Float16 holds it.
    """

    layer: str
    codes: UInt8[np.ndarray, "out in"]
    scale: Float32[np.ndarray, "out across"]
    tiles: TileMap
    codebooks: tuple[Codebook, ...]
    sparse: SparseWeights
    offset: Float32[np.ndarray, "out across"] | None = None
