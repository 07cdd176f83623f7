"""Texts and tokenizers: bounded, checked, and every mistake a sentence."""

import json
import lzma
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest

from haloquant.errors import CheckpointError, InputError
from haloquant.lm.text import load_text, load_tokenizer, tokenize


def test_plain_and_compressed_texts_read_alike(tmp_path: Path) -> None:
    text = "Grüße\nthere\n"
    (tmp_path / "a.txt").write_text(text, encoding="utf-8")
    (tmp_path / "a.txt.xz").write_bytes(lzma.compress(text.encode()))
    assert load_text(tmp_path / "a.txt") == load_text(str(tmp_path / "a.txt.xz")) == text


def test_texts_that_will_not_do(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"a text must be a \.txt or \.xz file, but .*none\.txt does not exist$"):
        load_text(tmp_path / "none.txt")
    with pytest.raises(InputError, match=r"a text must be a \.txt or \.xz file, but .* is a folder$"):
        load_text(tmp_path)
    (tmp_path / "blank.txt").write_text(" \n\t")
    with pytest.raises(InputError, match="must hold text, but is empty"):
        load_text(tmp_path / "blank.txt")
    (tmp_path / "latin.txt").write_bytes(b"abc\xff")
    with pytest.raises(InputError, match="must be UTF-8 text, but byte 3 is not"):
        load_text(tmp_path / "latin.txt")
    (tmp_path / "bad.xz").write_bytes(b"no xz")
    with pytest.raises(InputError, match=r"must be a whole \.xz file, but is damaged"):
        load_text(tmp_path / "bad.xz")
    (tmp_path / "cut.xz").write_bytes(lzma.compress(b"abc" * 1000)[:-8])
    with pytest.raises(InputError, match=r"must be a whole \.xz file, but is damaged"):
        load_text(tmp_path / "cut.xz")


def test_a_mark_of_the_byte_order_is_no_part_of_the_text(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"\xef\xbb\xbfOnce upon")
    assert load_text(tmp_path / "a.txt") == "Once upon"


def test_a_binary_file_is_no_text(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"MZ\0\3 all below 128")
    with pytest.raises(InputError, match=r"a\.txt must hold text, but holds the character of number 0"):
        load_text(tmp_path / "a.txt")


def test_streams_after_one_another_are_one_text(tmp_path: Path) -> None:
    parts = [b"abc" * 500_000, b"def" * 10, b""]
    packed = b"".join(lzma.compress(part) for part in parts)
    for name, tail in (("several.xz", b""), ("padded.xz", b"\0" * 8), ("trailed.xz", b"no stream")):
        (tmp_path / name).write_bytes(packed + tail)
        assert load_text(tmp_path / name).encode() == b"".join(parts)
    (tmp_path / "second.xz").write_bytes(lzma.compress(b"abc") + lzma.compress(b"def" * 1_000_000)[:-9])
    with pytest.raises(InputError, match=r"must be a whole \.xz file, but is damaged"):
        load_text(tmp_path / "second.xz")


def test_a_header_that_claims_a_large_dictionary_is_refused_before_it_is_made(tmp_path: Path) -> None:
    data = bytearray(lzma.compress(b"a text " * 100))
    end = 12 + 4 * data[12]  # of the block's header, but for its checksum: the filter's one property is the dictionary
    assert data[14:16] == b"\x21\x01"
    data[16] = 40  # 4 GiB
    data[end : end + 4] = zlib.crc32(data[12:end]).to_bytes(4, "little")
    (tmp_path / "claims.xz").write_bytes(data)
    with pytest.raises(
        InputError, match=r"must be an \.xz file that is read in 256 MiB of memory, but claims a larger dictionary"
    ):
        load_text(tmp_path / "claims.xz")


def test_a_small_file_that_unpacks_to_much_is_stopped(tmp_path: Path) -> None:
    (tmp_path / "bomb.xz").write_bytes(lzma.compress(b"a" * 1_000_000))
    with pytest.raises(InputError, match="must hold at most 1000 bytes of text, but holds more"):
        load_text(tmp_path / "bomb.xz", limit_bytes=1000)


def test_a_folder_without_a_tokenizer(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"must hold a tokenizer \(tokenizer\.json\), but holds none"):
        load_tokenizer(tmp_path)
    (tmp_path / "tokenizer.json").write_text("{")
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "llama"}))
    with pytest.raises(CheckpointError, match=r"tokenizer\.json must be the JSON description of a tokenizer, but"):
        load_tokenizer(tmp_path)
    for written, lacking in (("{}", "added_tokens and model"), ("[1]", "added_tokens and"), ('{"model": {}}', "added")):
        (tmp_path / "tokenizer.json").write_text(written)
        with pytest.raises(CheckpointError, match=rf"an object with added_tokens and model, but lacks {lacking}"):
            load_tokenizer(tmp_path)
    (tmp_path / "tokenizer.json").write_text('{"added_tokens": [], "model": {"type": "none"}}')
    with pytest.raises(CheckpointError, match="must load in transformers, but"):
        load_tokenizer(tmp_path)
    with pytest.raises(InputError, match="a text to be tokenized must not be empty"):
        tokenize(tmp_path, " ")


def test_the_tokenizer_of_the_model_is_used(find_data: Callable[[str], Path]) -> None:
    folder = find_data("models/stories260K")
    tokens = tokenize(folder, "Once upon a time")
    assert tokens[0] == load_tokenizer(folder).bos_token_id == 1
    assert load_tokenizer(folder).decode(tokens[1:]) == "Once upon a time"
