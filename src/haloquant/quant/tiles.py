"""Tiles: class maps, word tables for the kernels, what the accelerator wants to know, and the accumulator's bound."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float32, Int64

from haloquant.errors import InfeasibleError, InputError
from haloquant.quant.format.stored_bits import count_bits
from haloquant.quant.rounding.kernels import count_codes
from haloquant.records import Codebook, LayerTiles, QuantizedWeight, TileGrid, TileMap


def make_grid(out_features: int, in_features: int, tile_out: int = 128, tile_in: int = 128) -> TileGrid:
    """The grid of `tile_out` x `tile_in` blocks over a weight of [out_features, in_features]; edge tiles may be cut
    short.

    Raises:
        InputError: a size is below 1.
    """
    if min(out_features, in_features, tile_out, tile_in) < 1:
        raise InputError(
            f"tile grid must have sizes of at least 1, not {out_features} x {in_features} in tiles of {tile_out} x "
            f"{tile_in}"
        )
    return TileGrid(out_features, in_features, tile_out, tile_in)


def uniform_map(layer: str, grid: TileGrid, index: int = 0) -> TileMap:
    """Every tile of the layer in class `index`."""
    return TileMap(layer, grid, np.full((grid.down, grid.across), index, np.uint8))


def word_table(
    codebooks: tuple[Codebook, ...],
) -> tuple[Float32[np.ndarray, "classes most"], Int64[np.ndarray, " classes"]]:
    """Codebooks as one float32 table, padded with 0, and the size of each."""
    sizes = np.array([codebook.values.size for codebook in codebooks], np.int64)
    table = np.zeros((len(codebooks), int(sizes.max())), np.float32)
    for row, codebook in zip(table, codebooks, strict=True):
        row[: codebook.values.size] = codebook.values
    return table, sizes


def padding(grid: TileGrid) -> int:
    """Places of the array's tiles that hold no weight, because the layer is not a multiple of the tile."""
    return grid.down * grid.tile_out * grid.across * grid.tile_in - grid.out_features * grid.in_features


def padding_note(grids: Sequence[TileGrid]) -> tuple[str, ...]:
    """A sentence on how much of a model's tiles is padding, if any is: the array steps through it, no bit stores it."""
    empty = [padding(grid) for grid in grids]
    if not any(empty):
        return ()
    places = sum(grid.down * grid.tile_out * grid.across * grid.tile_in for grid in grids)
    short, one = sum(map(bool, empty)), grids[0]
    return (
        f"{short} of {len(grids)} layers do not fill their tiles of {one.tile_out} x {one.tile_in}: "
        f"{sum(empty) / places:.1%} of the places are padding",
    )


def layer_tiles(q: QuantizedWeight) -> LayerTiles:
    """How often each weight value stands in each tile; padding and the places of sparse weights count as value 0."""
    grid = q.tiles.grid
    values = np.unique(np.concatenate([codebook.values for codebook in q.codebooks]))
    counts = np.zeros((grid.down, grid.across, max(codebook.values.size for codebook in q.codebooks)), np.int64)
    count_codes(q.codes, q.tiles.codebook, grid.tile_out, grid.tile_in, counts)
    narrow = np.min_scalar_type(-grid.tile_out * grid.tile_in)  # a 70B has four million tiles
    histogram = np.zeros((grid.down, grid.across, values.size), narrow)
    for index, codebook in enumerate(q.codebooks):
        down, across = np.nonzero(q.tiles.codebook == index)
        places = np.searchsorted(values, codebook.values)
        histogram[down[:, None], across[:, None], places[None, :]] = counts[down, across, : codebook.values.size]
    histogram[:, :, int(np.searchsorted(values, 0))] += grid.tile_out * grid.tile_in - histogram.sum(axis=2)
    return LayerTiles(q.layer, grid, q.tiles.codebook, values, histogram, q.sparse.values.size, count_bits(q))


def longest_accumulation(largest_weight: int, activation_bits: int = 8, accumulator_bits: int = 32) -> int:
    """The most products that a signed accumulator holds for certain: floor((2^(b-1) - 1) / (|w| 2^(a-1))).

    Every product may be as large as |largest weight| x 2^(activation_bits - 1).

    Raises:
        InputError: a size is below 1.
    """
    if min(largest_weight, activation_bits, accumulator_bits) < 1:
        raise InputError(
            f"accumulator bound must be asked with sizes of at least 1, not weight {largest_weight}, "
            f"activation bits {activation_bits}, accumulator bits {accumulator_bits}"
        )
    return ((1 << (accumulator_bits - 1)) - 1) // (largest_weight << (activation_bits - 1))


def check_accumulation(layer: str, terms: int, codebooks: tuple[Codebook, ...], accumulator_bits: int = 32) -> None:
    """Refuse a layer whose dot products could overflow the accumulator.

    Partial sums leave a tile to be scaled, so `terms` is the tile's length along the inputs for scaled tiles, or the
    whole input for one scale per channel.

    Raises:
        InfeasibleError: a sum of `terms` products may not fit.
    """
    largest = max(int(np.abs(codebook.values).max()) for codebook in codebooks)
    bound = longest_accumulation(largest, 8, accumulator_bits)
    if terms > bound:
        raise InfeasibleError(
            f"accumulation of {layer} must be at most {bound} products of weights up to {largest} in "
            f"{accumulator_bits} bits, "
            f"not {terms}: a shorter tile or a wider accumulator would do"
        )
