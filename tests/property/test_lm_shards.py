"""Any tensor that safetensors writes is read back equal; any damage is a CheckpointError and nothing else."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.numpy import save_file

from haloquant.errors import CheckpointError
from haloquant.lm.checkpoint import safetensors
from haloquant.lm.checkpoint.safetensors import read_float32, read_header

SAME_FOLDER = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
DTYPES = {"F16": np.float16, "F32": np.float32, "F64": np.float64}


def to_bf16_slowly(x: np.ndarray) -> np.ndarray:
    """The nearest bf16 of each number by trying both neighbours: the twin of nothing but arithmetic."""
    low = (x.view(np.uint32) >> 16).astype(np.uint32)
    below, above = ((low + step) << 16 for step in (0, 1))
    nearer = np.abs(above.view(np.float32) - x) < np.abs(below.view(np.float32) - x)
    return np.where(nearer, low + 1, low).astype(np.uint16)


@SAME_FOLDER
@given(
    dtype=st.sampled_from(sorted(DTYPES)),
    shape=st.lists(st.integers(0, 7), min_size=0, max_size=3),
    seed=st.integers(0, 1000),
    chunk=st.sampled_from([8, 24, 1 << 20]),
)
def test_what_was_written_is_read(tmp_path: Path, dtype: str, shape: list[int], seed: int, chunk: int) -> None:
    array = np.random.default_rng(seed).standard_normal(shape).astype(DTYPES[dtype])
    save_file({"other": np.ones(3, np.int8), "x": np.asarray(array)}, tmp_path / "x.safetensors")
    before = safetensors.CHUNK_BYTES
    safetensors.CHUNK_BYTES = chunk
    try:
        tensor = read_header(tmp_path / "x.safetensors")["x"]
        np.testing.assert_array_equal(read_float32(tensor), array.astype(np.float32).reshape(-1))
        start = seed % (array.size + 1)
        np.testing.assert_array_equal(read_float32(tensor, start), array.astype(np.float32).reshape(-1)[start:])
    finally:
        safetensors.CHUNK_BYTES = before
    assert (tensor.dtype, tensor.shape) == (dtype, tuple(shape))


@SAME_FOLDER
@given(seed=st.integers(0, 1000), count=st.integers(1, 50))
def test_bf16_is_the_upper_half_of_a_float32(tmp_path: Path, seed: int, count: int) -> None:
    x = np.random.default_rng(seed).standard_normal(count).astype(np.float32)
    bits = to_bf16_slowly(x)
    header = json.dumps({"x": {"dtype": "BF16", "shape": [count], "data_offsets": [0, 2 * count]}}).encode()
    (tmp_path / "x.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + bits.tobytes())
    found = read_float32(read_header(tmp_path / "x.safetensors")["x"])
    assert (found.view(np.uint32) & 0xFFFF == 0).all()
    np.testing.assert_allclose(found, x, rtol=2.0**-8)


@SAME_FOLDER
@given(data=st.data())
def test_damage_is_never_anything_but_a_checkpoint_error(tmp_path: Path, data: st.DataObject) -> None:
    path = tmp_path / "x.safetensors"
    save_file({"a": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.ones(4, np.float16)}, path)
    raw = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(raw[: data.draw(st.integers(0, len(raw)))])
    try:
        for tensor in read_header(path).values():
            if tensor.dtype in safetensors.READABLE:
                assert read_float32(tensor).size == tensor.count
    except CheckpointError as error:
        assert str(path) in str(error)


def test_ranges_outside_a_tensor_are_our_own_mistake(tmp_path: Path) -> None:
    save_file({"x": np.ones(3, np.float32)}, tmp_path / "x.safetensors")
    tensor = read_header(tmp_path / "x.safetensors")["x"]
    with pytest.raises(ValueError, match="elements 2 to 5 of x must lie within its 3"):
        read_float32(tensor, 2, 3)
    with pytest.raises(ValueError, match="out must have room for 3 elements of x, not 2"):
        read_float32(tensor, out=np.empty(2, np.float32))
