"""A pointer of Git LFS or a web page in place of a file of the model is named for what it is."""

from pathlib import Path

import pytest

from haloquant.errors import CheckpointError, InputError
from haloquant.lm.checkpoint.gguf.header import read_gguf_header
from haloquant.lm.checkpoint.model_config import read_config
from haloquant.lm.checkpoint.safetensors import read_header
from haloquant.lm.text import load_text, load_tokenizer
from haloquant.store.placeholder_files import BEGINNING, stand_in

POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a214614ab\nsize 4976698672\n"
PAGE = b"\n<!DOCTYPE html>\n<html><head><title>401</title></head><body>Access is restricted.</body></html>\n"


def test_other_beginnings_are_no_stand_ins(tmp_path: Path) -> None:
    for data in (b"", b"{", b"GGUF\3\0\0\0", b"version 1 of a text", b"a < b"):
        assert stand_in(tmp_path, data[:BEGINNING]) is None


@pytest.mark.parametrize(("data", "sentence"), [(POINTER, "run `git lfs pull`"), (PAGE, "is a web page")])
def test_every_reader_of_a_model_says_what_stands_there(data: bytes, sentence: str, tmp_path: Path) -> None:
    readers = {
        "model.safetensors": read_header,
        "model.gguf": read_gguf_header,
        "config.json": read_config,
        "tokenizer.json": lambda file: load_tokenizer(file.parent),
    }
    for name, read in readers.items():
        (tmp_path / name).write_bytes(data)
        with pytest.raises(CheckpointError, match=sentence) as caught:
            read(tmp_path / name)
        assert name in str(caught.value)


@pytest.mark.parametrize("name", ["words.txt", "words.txt.xz"])
def test_a_pointer_is_no_text_and_a_web_page_may_be_one(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(POINTER)
    with pytest.raises(InputError, match="is a pointer of Git LFS and not the file itself"):
        load_text(tmp_path / name)
    (tmp_path / "page.txt").write_bytes(PAGE)
    assert load_text(tmp_path / "page.txt") == PAGE.decode()
