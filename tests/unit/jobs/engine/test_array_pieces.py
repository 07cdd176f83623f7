"""Arrays are cut into pieces of a limited size, and joined again."""

import numpy as np

from haloquant.jobs.engine.array_pieces import Layout, cut, join


def test_pieces_by_hand() -> None:
    layout, pieces = cut({"x": np.arange(6, dtype=np.float32).reshape(2, 3)}, most_bytes=8)
    assert layout == [Layout("x", "<f4", (2, 3), 3)]
    assert [piece.tolist() for piece in pieces] == [[0.0, 1.0], [2.0, 3.0], [4.0, 5.0]]


def test_joined_arrays_are_those_that_were_cut() -> None:
    arrays = {
        "wide": np.arange(100, dtype=np.int64).reshape(4, 25)[:, ::2],
        "one": np.float32(3.5).reshape(()),
        "none": np.zeros((0, 3), np.uint8),
    }
    found = join(*cut(arrays, most_bytes=16))
    assert list(found) == list(arrays)
    for name, array in arrays.items():
        np.testing.assert_array_equal(found[name], array)
        assert found[name].dtype == array.dtype
        assert found[name].flags.writeable
