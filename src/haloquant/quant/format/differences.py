"""What an update of a packed model has to send: differences of stored bytes, and how few bits codes need at least.

The bound is the empirical entropy of order 0: symbols are coded one by one by how often they occur, given what is
named. An arithmetic coder comes within a few bytes of it. The table of frequencies is not counted.
"""

import numpy as np
from jaxtyping import UInt8

from haloquant.quant.format.bit_layout import tile_offsets
from haloquant.quant.tiles import classes_by_row
from haloquant.records import QuantizedWeight, TileMap


def combine_codes(
    packed: UInt8[np.ndarray, " n"], base: UInt8[np.ndarray, " m"], new: TileMap, old: TileMap, sizes: tuple[int, ...]
) -> UInt8[np.ndarray, " n"]:
    """Return the codes of a layer as a difference from those of a base: XOR in tiles whose class is the same.

    The tiles of another class have other lengths and stay as they are. The function is its own inverse: from the
    difference it returns the codes.

    Args:
        packed: the codes as stored (`bit_layout.encode`), or their difference.
        base: the codes of the base as stored.
        new: classes of the tiles of `packed`.
        old: classes of the tiles of `base`, on the same grid.
        sizes: words of each class.
    """
    combined = packed.copy()
    at, base_at = (tile_offsets(tiles.grid, tiles.codebook, sizes) for tiles in (new, old))
    for tile in np.flatnonzero(new.codebook.ravel() == old.codebook.ravel()):
        combined[at[tile] : at[tile + 1]] ^= base[base_at[tile] : base_at[tile + 1]]
    return combined


def code_bits(new: QuantizedWeight, old: QuantizedWeight | None = None) -> float:
    """Return the least bits for the codes of a layer, given the class of every tile and the codes of a base.

    Where the class of a tile is another than in the base, the base's codes are not used.

    Args:
        new: the layer.
        old: the layer of a base, on the same grid and with as many words in each class; None for no base.
    """
    classes = _class_of_weights(new)
    total = 0.0
    for index, book in enumerate(new.codebooks):
        size = book.values.size
        here = classes == index
        if old is not None:
            known = here & (_class_of_weights(old) == index)
            joint = new.codes[known].astype(np.int64) * size + old.codes[known]
            total += symbol_bits(joint) - symbol_bits(old.codes[known])
            here &= ~known
        total += symbol_bits(new.codes[here])
    return total


def byte_bits(data: UInt8[np.ndarray, " n"], item: int) -> float:
    """Return the least bits for an array whose elements have `item` bytes, each byte of an element coded by itself."""
    return sum(symbol_bits(data[place::item]) for place in range(item))


def symbol_bits(symbols: np.ndarray) -> float:
    """Return the sum of -log2(share of the symbol) over all symbols, which are not negative."""
    counts = np.bincount(symbols.ravel())
    seen = counts[counts > 0].astype(np.float64)
    return float(np.sum(seen * np.log2(seen.sum() / seen)))


def _class_of_weights(q: QuantizedWeight) -> UInt8[np.ndarray, "out in"]:
    """Return the class of every weight's tile."""
    grid = q.tiles.grid
    return np.repeat(classes_by_row(q.tiles), grid.tile_in, axis=1)[:, : grid.in_features]
