"""Headers of safetensors files: doubled names and impossible sizes are refused."""

import json
from pathlib import Path

import pytest
from safetensors import SafetensorError
from safetensors.numpy import load_file

from haloquant.errors import CheckpointError
from haloquant.lm.checkpoint.safetensors import read_header
from support.hostile_files import framed


def _file(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def test_a_tensor_named_twice_is_refused(tmp_path: Path) -> None:
    """The format forbids it, and readers that take the first and those that take the last would see two models."""
    entry = '{"dtype":"U8","shape":[1],"data_offsets":[%d,%d]}'
    header = f'{{"w":{entry % (0, 1)},"w":{entry % (1, 2)}}}'.encode()
    with pytest.raises(CheckpointError, match=r"its header is damaged: the name 'w' stands twice$"):
        read_header(_file(tmp_path / "x.safetensors", framed(header, b"ab")))


@pytest.mark.parametrize("shape", [[1 << 60], [1 << 31, 1 << 31], [1 << 40, 1 << 40]])
def test_a_claimed_size_is_checked_before_memory_is_asked_for(shape: list[int], tmp_path: Path) -> None:
    size = 4
    for n in shape:
        size *= n
    header = json.dumps({"w": {"dtype": "F32", "shape": shape, "data_offsets": [0, size]}}).encode()
    with pytest.raises(CheckpointError, match=r"is cut short: tensor w must end at byte \d+, but the file has \d+"):
        read_header(_file(tmp_path / "x.safetensors", framed(header, b"ab")))


def test_bytes_behind_the_last_tensor_are_refused_as_the_library_refuses_them(tmp_path: Path) -> None:
    header = b'{"w":{"dtype":"U8","shape":[2],"data_offsets":[0,2]}}'
    file = _file(tmp_path / "x.safetensors", framed(header, b"abc"))
    with pytest.raises(SafetensorError):
        load_file(file)
    end = len(framed(header, b"ab"))
    with pytest.raises(
        CheckpointError, match=f"must end with its last tensor at byte {end}, but the file has {end + 1}"
    ):
        read_header(file)
    assert list(read_header(_file(file, framed(header, b"ab")))) == ["w"]
