"""The header of a GGUF file against the reader of the gguf package, and damaged headers."""

import struct
from pathlib import Path

import numpy as np
import pytest

gguf = pytest.importorskip("gguf")

from haloquant.errors import CheckpointError  # noqa: E402
from haloquant.lm.checkpoint.gguf.header import read_gguf_header  # noqa: E402


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "small.gguf"
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_block_count(2)
    writer.add_float32("llama.rope.freq_base", 1e4)
    writer.add_bool("tokenizer.ggml.add_bos_token", True)
    writer.add_int64("test.least", -5)
    writer.add_token_list(["<s>", "Ġa", "ü"])
    writer.add_token_types([3, 1, 1])
    writer.add_tensor("token_embd.weight", np.arange(96, dtype=np.float32).reshape(3, 32))
    writer.add_tensor("blk.0.attn_norm.weight", np.ones(32, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def test_metadata_and_places_are_those_of_the_gguf_package(file: Path) -> None:
    header, theirs = read_gguf_header(file), gguf.GGUFReader(file)
    expected = {name: item.contents() for name, item in theirs.fields.items() if not name.startswith("GGUF.")}
    assert dict(header.metadata) == expected
    assert header.version == 3 and header.architecture == "llama"
    assert header.number("block_count") == 2 and header.number("absent") is None
    assert {(t.name, tuple(t.shape[::-1]), int(t.tensor_type), t.data_offset) for t in theirs.tensors} == {
        (t.name, t.shape, t.ggml_type, t.offset) for t in header.tensors.values()
    }


def test_every_cut_within_the_header_is_one_sentence(file: Path) -> None:
    data = file.read_bytes()
    end = read_gguf_header(file).tensors["token_embd.weight"].offset
    for length in range(0, end - 32, 7):
        file.write_bytes(data[:length])
        with pytest.raises(CheckpointError, match=r"cut short|must be a GGUF file"):
            read_gguf_header(file)


@pytest.mark.parametrize(
    ("place", "value", "sentence"),
    [
        (0, b"GGUZ", "does not begin with the letters GGUF"),
        (4, struct.pack("<I", 1), "version 2 or 3 in little endian, and is one of version 1"),
        (4, struct.pack(">I", 3), "in big endian"),
        (8, struct.pack("<Q", 1 << 40), "at most 1048576 tensors, and its header claims 1099511627776"),
        (16, struct.pack("<Q", 1 << 60), "metadata entries"),
        (24, struct.pack("<Q", 1 << 50), "bytes in a string"),
    ],
)
def test_a_damaged_number_is_one_sentence(file: Path, place: int, value: bytes, sentence: str) -> None:
    data = bytearray(file.read_bytes())
    data[place : place + len(value)] = value
    file.write_bytes(data)
    with pytest.raises(CheckpointError, match=sentence):
        read_gguf_header(file)


def test_an_unknown_type_of_metadata_and_a_name_twice_are_refused(file: Path) -> None:
    data = file.read_bytes()
    place = data.index(b"llama.block_count") + len("llama.block_count")
    file.write_bytes(data[:place] + struct.pack("<I", 77) + data[place + 4 :])
    with pytest.raises(CheckpointError, match="metadata of a known type, not of type 77"):
        read_gguf_header(file)
    file.write_bytes(data.replace(b"blk.0.attn_norm.weight", b"token_embd.weight".ljust(22, b"x")))
    assert "token_embd.weightxxxxx" in read_gguf_header(file).tensors
    entry = struct.pack("<Q", 14) + b"general.archit"
    file.write_bytes(data[:16] + struct.pack("<Q", 2) + 2 * (entry + struct.pack("<IB", 0, 1)) + data[24:])
    with pytest.raises(CheckpointError, match="once, but holds it twice"):
        read_gguf_header(file)


def test_a_missing_file_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="must exist, but it is missing"):
        read_gguf_header(tmp_path / "none.gguf")
    with pytest.raises(CheckpointError, match="must be a regular file"):
        read_gguf_header(tmp_path)
