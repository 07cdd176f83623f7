"""Tiles of a weight matrix: their grid, class maps, sizes and sums, and the codebooks as one table for the kernels."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float32, Float64, Int64, UInt8

from haloquant.deprecated_names import moved_names
from haloquant.errors import InputError
from haloquant.records import Codebook, TileGrid, TileMap

if not TYPE_CHECKING:  # a type checker would take every name for one of this module's
    __getattr__ = moved_names(__name__)


def make_grid(out_features: int, in_features: int, tile_out: int = 128, tile_in: int = 128) -> TileGrid:
    """Return the grid of `tile_out` x `tile_in` tiles over a weight [out_features, in_features].

    The last row and the last column of tiles may be smaller.

    Raises:
        InputError: A size is below 1.
    """
    if min(out_features, in_features, tile_out, tile_in) < 1:
        raise InputError(
            f"tile grid must have sizes of at least 1, not {out_features} x {in_features} in tiles of {tile_out} x "
            f"{tile_in}"
        )
    return TileGrid(out_features, in_features, tile_out, tile_in)


def uniform_map(layer: str, grid: TileGrid, index: int = 0) -> TileMap:
    """Return a tile map with every tile of the layer in class `index`."""
    return TileMap(layer, grid, np.full((grid.down, grid.across), index, np.uint8))


def classes_by_row(tiles: TileMap) -> UInt8[np.ndarray, "out across"]:
    """Return the class of every (output feature, tile along the inputs)."""
    return np.repeat(tiles.codebook, tiles.grid.tile_out, axis=0)[: tiles.grid.out_features]


def word_table(
    codebooks: tuple[Codebook, ...],
) -> tuple[Float32[np.ndarray, "classes most"], Int64[np.ndarray, " classes"]]:
    """Return the codebooks as one float32 table, padded with 0, and the number of words of each."""
    sizes = np.array([codebook.values.size for codebook in codebooks], np.int64)
    table = np.zeros((len(codebooks), int(sizes.max())), np.float32)
    for row, codebook in zip(table, codebooks, strict=True):
        row[: codebook.values.size] = codebook.values
    return table, sizes


def tile_rows(grid: TileGrid) -> Int64[np.ndarray, " down"]:
    """Return the number of output features in each row of tiles, without padding."""
    return np.minimum(grid.tile_out, grid.out_features - grid.tile_out * np.arange(grid.down))


def tile_columns(grid: TileGrid) -> Int64[np.ndarray, " across"]:
    """Return the number of input features in each column of tiles, without padding."""
    return np.minimum(grid.tile_in, grid.in_features - grid.tile_in * np.arange(grid.across))


def tile_counts(grid: TileGrid) -> Float64[np.ndarray, "down across"]:
    """Return the number of weights of every tile, without padding."""
    return np.outer(tile_rows(grid), tile_columns(grid)).astype(np.float64)


def tile_sums(values: np.ndarray, grid: TileGrid) -> Float64[np.ndarray, "down across"]:
    """Return the sum of an [out, in] array over every tile, in float64."""
    rows = np.add.reduceat(values, np.arange(0, grid.out_features, grid.tile_out), axis=0, dtype=np.float64)
    return np.add.reduceat(rows, np.arange(0, grid.in_features, grid.tile_in), axis=1)


def padding(grid: TileGrid) -> int:
    """Return how many places of the tiles hold no weight because the layer is not a multiple of the tile."""
    return grid.down * grid.tile_out * grid.across * grid.tile_in - grid.out_features * grid.in_features


def padding_note(grids: Sequence[TileGrid]) -> tuple[str, ...]:
    """Return one sentence about the padding of a model's tiles, or nothing if no tile has padding.

    The array computes padded places like all others; they are not stored.
    """
    empty = [padding(grid) for grid in grids]
    if not any(empty):
        return ()
    places = sum(grid.down * grid.tile_out * grid.across * grid.tile_in for grid in grids)
    short, one = sum(map(bool, empty)), grids[0]
    return (
        f"{short} of {len(grids)} layers do not fill their tiles of {one.tile_out} x {one.tile_in}: "
        f"{sum(empty) / places:.1%} of the places are padding",
    )
