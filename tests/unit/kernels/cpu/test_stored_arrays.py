"""Records of the addresses of arrays."""

import numpy as np
import pytest
import torch
from numba import njit

from haloquant.kernels.cpu.stored_arrays import (
    BFLOAT16,
    FLOAT32,
    INT8,
    LAYER,
    array_at,
    dense_record,
    numbers,
    packed_record,
)
from support.packed_layers import layer


@njit
def sums(address, rows, columns):
    """The sums of the rows of an array of float32 at an address."""
    found = np.empty(rows, np.float32)
    array = array_at(address, (rows, columns), np.float32)
    for row in range(rows):
        found[row] = array[row].sum()
    return found


@njit
def outputs(address, count):
    found = np.empty(count, np.int64)
    records = array_at(address, (count,), LAYER)
    for i in range(count):
        found[i] = records[i].out * records[i].weight.kind
    return found


def test_compiled_code_reads_an_array_at_its_address() -> None:
    array = np.arange(12, dtype=np.float32).reshape(4, 3)
    np.testing.assert_array_equal(sums(array.ctypes.data, 4, 3), array.sum(1))
    records = np.stack([dense_record(np.zeros((k, 2), np.float32), None).records for k in (3, 4)])
    np.testing.assert_array_equal(outputs(records.ctypes.data, 2), [3, 4])


def test_numbers_say_where_they_are_and_of_which_kind() -> None:
    for array, kind in (
        (np.ones(3, np.float32), FLOAT32),
        (np.ones(3, np.uint16), BFLOAT16),
        (np.ones(3, np.int8), INT8),
    ):
        assert numbers(array).tolist() == (array.ctypes.data, kind)
    assert numbers(None).tolist() == (0, 0)


def test_the_record_of_a_packed_layer_points_at_its_tensors() -> None:
    packed = layer((130, 172, 128), "two")[1]
    found = packed_record(packed, None, True)
    record = found.records
    assert record["packed"] == packed.packed.data_ptr()
    assert record["scale"] == packed.scale.data_ptr()
    names = ("out", "inputs", "tile_out", "tile_in", "books", "words", "values", "rounded", "tile_offset")
    assert [int(record[name]) for name in names] == [130, 172, 128, 128, 2, 16, packed.sparse.value.numel(), 1, 0]
    held = {array.ctypes.data for array in found.arrays}
    assert {int(record[name]) for name in ("packed", "scale", "row", "tables", "wide")} <= held


def test_what_does_not_fit_a_record_is_refused() -> None:
    for gaps in (np.ones((4, 6), np.float32)[:, ::2], np.broadcast_to(np.ones(1, np.float32), (4, 3))):
        with pytest.raises(ValueError, match="without gaps"):
            dense_record(gaps, None)
    with pytest.raises(ValueError, match="without gaps"):
        dense_record(np.ones((4, 6), np.float32), np.ones(8, np.float32)[::2])
    packed = layer((40, 300, 128), "two")[1]
    packed.sparse.col.data = packed.sparse.col.to(torch.int32)
    assert packed_record(packed, None, False) is None
