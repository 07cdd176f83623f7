"""Named arrays in safetensors files."""

from pathlib import Path

import numpy as np
import pytest

from haloquant.store.arrays import load_arrays, load_arrays_if_any, save_arrays, save_arrays_if_any


def test_arrays_come_back_with_their_types_and_shapes(tmp_path: Path) -> None:
    arrays = {"a": np.arange(6, dtype=np.int16).reshape(2, 3).T, "b": np.zeros((0, 4), np.float32)}
    save_arrays(tmp_path / "x.safetensors", arrays)
    found = load_arrays(tmp_path / "x.safetensors")
    assert found.keys() == arrays.keys()
    for name, array in arrays.items():
        assert found[name].dtype == array.dtype
        np.testing.assert_array_equal(found[name], array)


def test_no_arrays_make_no_file(tmp_path: Path) -> None:
    save_arrays_if_any(tmp_path / "x.safetensors", {})
    assert list(tmp_path.iterdir()) == []
    assert load_arrays_if_any(tmp_path / "x.safetensors") == {}
    save_arrays_if_any(tmp_path / "x.safetensors", {"a": np.ones(2)})
    assert load_arrays_if_any(tmp_path / "x.safetensors")["a"].tolist() == [1, 1]


def test_a_file_that_cannot_be_written_is_an_os_error(tmp_path: Path) -> None:
    with pytest.raises(OSError, match=r"x\.safetensors"):
        save_arrays(tmp_path / "no folder" / "x.safetensors", {"a": np.ones(2)})
