"""Models in several GGUF files: whole, in any of their parts, and with parts that do not belong together."""

from pathlib import Path

import numpy as np
import pytest

gguf = pytest.importorskip("gguf")

from haloquant.errors import CheckpointError  # noqa: E402
from haloquant.lm.checkpoint.gguf.split import model_name, parts_of, read_model_header  # noqa: E402
from haloquant.lm.checkpoint.paths import local_folder  # noqa: E402

SHAPES = {"token_embd.weight": (4, 32), "blk.0.attn_q.weight": (32, 32), "output_norm.weight": (32,)}


def write(file: Path, parts_tensors: int, first: str = "token_embd.weight") -> None:
    """Files with three tensors; the gguf package splits them."""
    writer = gguf.GGUFWriter(file, "llama", split_max_tensors=parts_tensors)
    writer.add_block_count(1)
    for number, (name, shape) in enumerate(SHAPES.items()):
        writer.add_tensor(first if number == 0 else name, np.full(shape, number, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def parts(folder: Path, count: int = 3) -> list[Path]:
    return [folder / f"m-{number:05}-of-{count:05}.gguf" for number in range(1, count + 1)]


def test_any_part_stands_for_the_whole_model(tmp_path: Path) -> None:
    write(tmp_path / "m.gguf", 1)
    files = parts(tmp_path)
    for file in files:
        assert list(parts_of(file)) == files and model_name(file) == "m"
        header = read_model_header(file)
        assert header.file == files[0] and header.architecture == "llama" and header.number("block_count") == 1
        assert {name: entry.shape for name, entry in header.tensors.items()} == SHAPES
        assert [entry.file for entry in header.tensors.values()] == files
        for number, entry in enumerate(header.tensors.values()):
            assert np.frombuffer(entry.file.read_bytes()[entry.offset :][:4], "<f4")[0] == number


@pytest.mark.parametrize("name", ["m-00004-of-00003.gguf", "m-00000-of-00000.gguf", "m-1-of-3.gguf", "model.gguf"])
def test_other_names_are_those_of_whole_models(name: str, tmp_path: Path) -> None:
    assert parts_of(tmp_path / name) == (tmp_path / name,)


def test_a_missing_part_is_named(tmp_path: Path) -> None:
    write(tmp_path / "m.gguf", 1)
    parts(tmp_path)[1].unlink()
    sentence = (
        r"m-00003-of-00003\.gguf is one of 3 files of a model, .* but m-00002-of-00003\.gguf is missing; download"
    )
    with pytest.raises(CheckpointError, match=sentence):
        read_model_header(parts(tmp_path)[2])
    with pytest.raises(CheckpointError, match=r"m-00002-of-00003\.gguf is missing; download it into that folder"):
        local_folder(tmp_path)


def test_parts_that_do_not_belong_together_are_refused(tmp_path: Path) -> None:
    write(tmp_path / "m.gguf", 1)
    files = parts(tmp_path)
    saved = files[2].read_bytes()
    files[2].write_bytes(files[1].read_bytes())
    with pytest.raises(
        CheckpointError, match=r"must be part 3 of 3 by its name, but its header says part 2 of 3; name"
    ):
        read_model_header(files[0])
    files[2].write_bytes(saved)
    other = tmp_path / "other"
    other.mkdir()
    write(other / "m.gguf", 2)  # two files: two tensors, and one
    alone = tmp_path / "whole.gguf"
    alone.write_bytes(parts(other, 2)[1].read_bytes())
    with pytest.raises(
        CheckpointError, match=r"must be part 1 of 1 by its name, but its header says part 2 of 2; name"
    ):
        read_model_header(alone)


def test_a_part_with_a_tensor_of_an_earlier_part_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "m.gguf", 1, first="blk.0.attn_x.weight")
    first = parts(tmp_path)[0]
    first.write_bytes(first.read_bytes().replace(b"blk.0.attn_x.weight", b"blk.0.attn_q.weight"))
    with pytest.raises(CheckpointError, match=r"part.*before it, but holds blk\.0\.attn_q\.weight"):
        read_model_header(first)
