"""Read Liberty files of bounded size, and cache the parsed libraries under the hash of the file's content.

An entry is named by the hash of the file and of the source code that parses it, and begins with a checksum of its own
bytes. If it is damaged, was written by another program or cannot be written, the text is parsed again. Entries are
msgpack: numbers and byte strings only, nothing that could be executed.
"""

import dataclasses
import zlib
from hashlib import sha256
from pathlib import Path

import msgspec
from platformdirs import user_cache_path

from haloquant.circuits.liberty.parser import parse_liberty
from haloquant.circuits.liberty.records import Library
from haloquant.errors import InputError, LibertyError
from haloquant.source_code import source_sha256
from haloquant.store.atomic_files import read_bounded, sha256_bytes, write_bytes
from haloquant.store.cell_library_codec import decode_library, encode_library

MAX_BYTES = 1 << 28  # 256 MiB of text; the largest open libraries have about 100 MB
CACHED_CODE = ("circuits/liberty", "store/cell_libraries.py", "store/cell_library_codec.py")
_CHECKSUM_BYTES = 32
_GZIP = b"\x1f\x8b"  # the first bytes of every gzip file


def read_library(path: Path, cache: Path | None = None) -> Library:
    """Read a `.lib` or `.lib.gz` file; take it from the cache if the same content was parsed before.

    Args:
        path: the file.
        cache: folder for parsed libraries; None means the user's cache folder.

    Raises:
        InputError: The file is missing or too large.
        LibertyError: The file ends in .gz but is not gzip, is not text, is too large unpacked, or is not Liberty.
    """
    raw = read_bounded(path, MAX_BYTES)
    folder = user_cache_path("haloquant") / "liberty" if cache is None else cache
    entry = folder / f"{sha256_bytes(raw)}-{source_sha256(CACHED_CODE)[:16]}.msgpack"
    found = _cached(entry)
    if found is not None:
        return dataclasses.replace(found, source=path.name)
    library = parse_liberty(liberty_text(path, raw), path.name)
    _keep(entry, library)
    return library


def liberty_text(path: Path, raw: bytes | None = None) -> str:
    """Return the text of a `.lib` or `.lib.gz` file: UTF-8, or else Latin-1, which older comments are written in.

    Args:
        path: the file.
        raw: the file's bytes, if they were read already.

    Raises:
        InputError: The file is missing or too large.
        LibertyError: It cannot be unpacked or is not text.
    """
    return decode_liberty(path, liberty_bytes(path, raw))


def decode_liberty(path: Path, data: bytes) -> str:
    """Return the text of the unpacked bytes of a library.

    Raises:
        LibertyError: The bytes are not text.
    """
    if (zero := data.find(b"\0")) >= 0:
        line = data.count(b"\n", 0, zero) + 1
        raise LibertyError(f"{path.name}:{line}: a Liberty file must be UTF-8 or Latin-1 text, and has a zero byte")
    try:
        return data.decode()
    except UnicodeDecodeError:
        return data.decode("latin-1")


def liberty_bytes(path: Path, raw: bytes | None = None) -> bytes:
    """Return the bytes of a `.lib` or `.lib.gz` file, unpacked, without the byte-order mark.

    Args:
        path: the file. It is compressed if its name says so, or if it begins as gzip files do.
        raw: the file's bytes, if they were read already.

    Raises:
        InputError: The file is missing or too large.
        LibertyError: It cannot be unpacked.
    """
    data = read_bounded(path, MAX_BYTES) if raw is None else raw
    text = _unpack(path, data) if path.suffix == ".gz" or data[:2] == _GZIP else data
    return text.removeprefix(b"\xef\xbb\xbf")


def _unpack(path: Path, data: bytes) -> bytes:
    """Gunzip at most `MAX_BYTES`, because a small file may unpack to any size."""
    try:
        unpacker = zlib.decompressobj(wbits=31)
        text = unpacker.decompress(data, MAX_BYTES)
    except zlib.error as error:
        raise LibertyError(f"{path.name} must be a gzip file, as its name or its first bytes say: {error}") from None
    if unpacker.unconsumed_tail:
        raise LibertyError(f"{path.name} must unpack to at most {MAX_BYTES:,} bytes, but is larger")
    if not unpacker.eof:
        raise LibertyError(f"{path.name} must be a whole gzip file, but it ends early; it is truncated")
    return text


def _cached(entry: Path) -> Library | None:
    try:
        data = read_bounded(entry, MAX_BYTES)
        checksum, packed = data[:_CHECKSUM_BYTES], data[_CHECKSUM_BYTES:]
        return decode_library(packed) if checksum == sha256(packed).digest() else None
    except (InputError, OSError, ValueError, TypeError, IndexError, KeyError, msgspec.MsgspecError):
        return None


def _keep(entry: Path, library: Library) -> None:
    try:
        packed = encode_library(library)
        write_bytes(entry, sha256(packed).digest() + packed)
    except OSError:
        return  # the cache is optional: a read-only or full home folder must not stop the work
