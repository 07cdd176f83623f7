"""Liberty files: bounds, the cache, and what damages it."""

import gzip
from pathlib import Path

import pytest

from haloquant.circuits.liberty.parser import parse_liberty
from haloquant.circuits.liberty.records import Library
from haloquant.errors import InputError, LibertyError
from haloquant.store import cell_libraries as store
from support.equal_records import same
from support.gate_cases import library_text


def test_the_second_reading_does_not_parse(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = tmp_path / "small.lib.gz"
    path.write_bytes(gzip.compress(library_text().encode()))
    first = store.read_library(path, tmp_path / "cache")
    (entry,) = (tmp_path / "cache").iterdir()
    assert entry.suffix == ".msgpack"

    def fail(text: str, source: str) -> Library:
        raise AssertionError("parsed again")

    monkeypatch.setattr(store, "parse_liberty", fail)
    assert same(store.read_library(path, tmp_path / "cache"), first)
    moved = path.rename(tmp_path / "other.lib.gz")
    assert store.read_library(moved, tmp_path / "cache").source == "other.lib.gz"


@pytest.mark.parametrize("damage", [b"", b"\x00", b"\x93\x01\x02\x03", b"cut", b"bit"])
def test_a_damaged_entry_is_passed_over_and_replaced(tmp_path: Path, damage: bytes):
    path = tmp_path / "small.lib"
    path.write_text(library_text())
    first = store.read_library(path, tmp_path / "cache")
    (entry,) = (tmp_path / "cache").iterdir()
    whole = entry.read_bytes()
    flipped = bytes([*whole[:-9], whole[-9] ^ 1, *whole[-8:]])  # one bit of one number: it could be read
    entry.write_bytes({b"cut": whole[: len(whole) // 2], b"bit": flipped}.get(damage, damage))
    assert same(store.read_library(path, tmp_path / "cache"), first)
    assert entry.read_bytes() == whole


def test_an_entry_of_other_code_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = tmp_path / "small.lib"
    path.write_text(library_text())
    store.read_library(path, tmp_path / "cache")
    monkeypatch.setattr(store, "source_sha256", lambda parts: "0" * 64)
    parsed: list[str] = []
    parse = store.parse_liberty
    monkeypatch.setattr(store, "parse_liberty", lambda text, name: parsed.append(name) or parse(text, name))
    store.read_library(path, tmp_path / "cache")
    assert parsed == ["small.lib"] and len(list((tmp_path / "cache").iterdir())) == 2


def test_a_cache_that_cannot_be_written_does_not_matter(tmp_path: Path):
    path = tmp_path / "small.lib"
    path.write_text(library_text())
    (tmp_path / "cache").write_text("a file where the folder should be")
    assert store.read_library(path, tmp_path / "cache").name == "small"


def test_a_changed_file_is_another_library(tmp_path: Path):
    path = tmp_path / "small.lib"
    path.write_text(library_text())
    store.read_library(path, tmp_path / "cache")
    path.write_text(library_text().replace("library (small)", "library (changed)"))
    assert store.read_library(path, tmp_path / "cache").name == "changed"


def _refused(path: Path) -> str:
    with pytest.raises(InputError) as error:
        store.read_library(path, path.parent / "cache")
    return str(error.value)


def test_files_that_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    assert _refused(tmp_path / "none.lib") == f"{tmp_path}/none.lib must be a file; there is none"
    path = tmp_path / "x.lib.gz"
    path.write_bytes(b"library")
    assert _refused(path).startswith("x.lib.gz must be a gzip file, as its name or its first bytes say: ")
    path.write_bytes(gzip.compress(library_text().encode())[:-20])
    assert _refused(path) == "x.lib.gz must be a whole gzip file, but it ends early; it is truncated"
    plain = tmp_path / "x.lib"
    plain.write_bytes(b"library (x) {\n\x00 }")
    assert _refused(plain) == "x.lib:2: a Liberty file must be UTF-8 or Latin-1 text, and has a zero byte"
    monkeypatch.setattr(store, "MAX_BYTES", 1000)
    path.write_bytes(gzip.compress(bytes(100_000)))
    assert _refused(path) == "x.lib.gz must unpack to at most 1,000 bytes, but is larger"
    plain.write_bytes(bytes(2000))
    assert _refused(plain) == f"{tmp_path}/x.lib must be at most 1,000 bytes, not 2,000"


def test_older_comments_and_a_byte_order_mark_are_read(tmp_path: Path):
    path = tmp_path / "old.lib"
    path.write_bytes(b"\xef\xbb\xbf/* 10 \xb5m */" + library_text().encode())
    assert list(store.read_library(path, tmp_path).cells) == list(parse_liberty(library_text()).cells)


def test_the_sentence_of_a_bad_library_names_the_file(tmp_path: Path):
    path = tmp_path / "bad.lib"
    path.write_text("library (x) {\n  area 1;\n}\n")
    with pytest.raises(LibertyError, match=r"^bad\.lib:2: a statement must be "):
        store.read_library(path, tmp_path / "cache")
