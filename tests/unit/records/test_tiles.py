"""The grid of tiles."""

from haloquant.records import TileGrid


def test_tiles_are_counted_with_those_cut_short() -> None:
    grid = TileGrid(130, 256, 128, 128)
    assert (grid.down, grid.across) == (2, 2)
