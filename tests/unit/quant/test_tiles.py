"""Grids of tiles: sizes, sums and padding."""

import numpy as np
import pytest

from haloquant.errors import InputError
from haloquant.quant.tiles import make_grid, padding, padding_note, tile_columns, tile_counts, tile_rows, tile_sums


def test_grid_sizes() -> None:
    with pytest.raises(InputError) as caught:
        make_grid(4, 4, 0, 4)
    assert str(caught.value) == "tile grid must have sizes of at least 1, not 4 x 4 in tiles of 0 x 4"


def test_sizes_and_sums_of_tiles_cut_short() -> None:
    grid = make_grid(3, 5, 2, 2)
    assert tile_rows(grid).tolist() == [2, 1]
    assert tile_columns(grid).tolist() == [2, 2, 1]
    assert tile_counts(grid).tolist() == [[4, 4, 2], [2, 2, 1]]
    # Rows 0 to 2 hold 0..4, 5..9 and 10..14: the first tile sums 0 + 1 + 5 + 6.
    assert tile_sums(np.arange(15.0).reshape(3, 5), grid).tolist() == [[12, 20, 13], [21, 25, 14]]


def test_padding_is_counted() -> None:
    grid = make_grid(50, 70, 32, 32)
    assert padding(grid) == 64 * 96 - 50 * 70
    assert padding(make_grid(64, 96, 32, 32)) == 0
    assert padding_note([make_grid(64, 96, 32, 32)]) == ()
    share = (64 * 96 - 50 * 70) / (2 * 64 * 96)
    assert padding_note([grid, make_grid(64, 96, 32, 32)]) == (
        f"1 of 2 layers do not fill their tiles of 32 x 32: {share:.1%} of the places are padding",
    )
