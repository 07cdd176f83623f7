"""Read the metadata and the table of tensors of a GGUF file. Every length is checked against the size of the file.

The layout is that of version 2 and 3 in little endian
(https://github.com/ggml-org/ggml/blob/master/docs/gguf.md): magic, version, number of tensors, number of metadata
entries, the entries, the table of tensors, and the data from the next aligned byte on. The reader of the `gguf` package
trusts the lengths in a file and takes tens of seconds for the tokens of one model, so this module reads the header
itself; the package de-quantizes the tensors.
"""

import stat
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, BinaryIO

from haloquant.errors import CheckpointError
from haloquant.store.placeholder_files import BEGINNING, stand_in

MAGIC = b"GGUF"
VERSIONS = (2, 3)
MOST_ENTRIES = 1 << 16  # metadata entries; models have tens
MOST_TENSORS = 1 << 20
MOST_STRING_BYTES = 16 << 20
MOST_LIST = 1 << 24  # elements of a list; the largest vocabularies have some hundred thousand tokens
MOST_DIMENSIONS = 4
STRING, LIST = 8, 9
PART, PARTS, PARTS_TENSORS = "split.no", "split.count", "split.tensors.count"  # entries of the files of a split model
_SCALARS = {
    0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "<?", 10: "<Q", 11: "<q", 12: "<d",
}  # fmt: skip

Value = int | float | bool | str | list[Any]


@dataclass(frozen=True, slots=True)
class GgufEntry:
    """One line of the table of tensors. `shape` is in the order of numpy and torch: rows first.

    `offset` counts from the start of `file`, which has `file_bytes` bytes. Its data are padded to a multiple of
    `alignment` bytes.
    """

    name: str
    shape: tuple[int, ...]
    ggml_type: int
    offset: int
    file: Path
    file_bytes: int
    alignment: int = 32


@dataclass(frozen=True)
class GgufHeader:
    """The metadata and the table of tensors of a GGUF file, or of all files of a split model (`split`)."""

    file: Path
    version: int
    metadata: Mapping[str, Value]
    tensors: Mapping[str, GgufEntry]
    encoded: Mapping[str, bytes] = field(repr=False)  # every metadata entry as it stands in the file

    @property
    def architecture(self) -> str:
        """The family of the model, as llama.cpp names it."""
        return str(self.metadata["general.architecture"])

    def number(self, name: str) -> int | float | None:
        """Return a number of this architecture, for example `block_count`; None if the file does not give it."""
        value = self.metadata.get(f"{self.architecture}.{name}")
        return value if isinstance(value, int | float) else None


def read_gguf_header(file: Path) -> GgufHeader:
    """Return the header of a GGUF file.

    Raises:
        CheckpointError: The file is missing, not GGUF of a known version, or cut short, or it contradicts itself.
    """
    try:
        status = file.stat()
        if not stat.S_ISREG(status.st_mode):  # reading a named pipe could block forever
            raise CheckpointError(f"{file} must be a regular file, and is not")
        with file.open("rb") as stream:
            return _read(_Stream(stream, file, status.st_size))
    except FileNotFoundError as error:
        raise CheckpointError(f"{file} must exist, but it is missing") from error
    except OSError as error:
        raise CheckpointError(f"{file} must be readable, but: {error.strerror}") from error


class _Stream:
    """Reads numbers and strings of a file from its beginning; nothing is read that the file cannot hold."""

    def __init__(self, stream: BinaryIO, file: Path, size: int) -> None:
        self.stream, self.file, self.size, self.position = stream, file, size, 0
        self.seen = bytearray()  # the bytes since the last call of `forget`

    def forget(self) -> bytes:
        seen, self.seen = bytes(self.seen), bytearray()
        return seen

    def take(self, length: int) -> bytes:
        data = self.stream.read(length) if length <= self.size - self.position else b""
        if len(data) < length:
            raise self.error("is cut short within its header; download this file again")
        self.position += length
        self.seen += data
        return data

    def number(self, code: str) -> Any:
        return struct.unpack(code, self.take(struct.calcsize(code)))[0]

    def count(self, most: int, what: str) -> int:
        value = self.number("<Q")
        if value > most:
            raise self.error(f"must have at most {most} {what}, and its header claims {value}; it is damaged")
        return value

    def string(self) -> str:
        try:
            return self.take(self.count(MOST_STRING_BYTES, "bytes in a string")).decode()
        except UnicodeDecodeError as error:
            raise self.error(f"must hold strings in UTF-8, but: {error}") from error

    def error(self, what: str, instead: str | None = None) -> CheckpointError:
        return CheckpointError(instead or f"{self.file} {what}")


def _read(stream: _Stream) -> GgufHeader:
    if stream.size < 24 or stream.take(4) != MAGIC:
        stream.stream.seek(0)
        said = stand_in(stream.file, stream.stream.read(BEGINNING))
        raise stream.error("must be a GGUF file, but it does not begin with the letters GGUF", said)
    version = stream.number("<I")
    if version not in VERSIONS:
        kind = "in big endian" if version and version & 0xFFFF == 0 else f"of version {version}"
        raise stream.error(f"must be a GGUF file of version 2 or 3 in little endian, and is one {kind}")
    tensors, entries = stream.count(MOST_TENSORS, "tensors"), stream.count(MOST_ENTRIES, "metadata entries")
    metadata: dict[str, Value] = {}
    encoded: dict[str, bytes] = {}
    for _ in range(entries):
        stream.forget()
        name = stream.string()
        if name in metadata:
            raise stream.error(f"must hold the metadata entry {name!r:.80} once, but holds it twice")
        metadata[name] = _value(stream, stream.number("<I"))
        encoded[name] = stream.forget()
    if not isinstance(metadata.get("general.architecture"), str) and not metadata.get(PART):
        raise stream.error("must name its model family (general.architecture), but does not")
    table = [_entry(stream) for _ in range(tensors)]
    alignment = metadata.get("general.alignment", 32)
    if not isinstance(alignment, int) or not 0 < alignment <= 1 << 20 or alignment & (alignment - 1):
        raise stream.error(f"must have an alignment that is a power of two, not {alignment!r:.40}")
    start = -(-stream.position // alignment) * alignment
    found = {entry.name: replace(entry, offset=start + entry.offset, alignment=alignment) for entry in table}
    if not table and stream.size > start:
        raise stream.error(f"must end with its header at byte {start}, but has {stream.size}; download this file again")
    if len(found) < len(table):
        raise stream.error("must hold every tensor once, but holds one name twice")
    return GgufHeader(stream.file, version, metadata, found, encoded)


def _value(stream: _Stream, kind: int) -> Value:
    if kind in _SCALARS:
        return stream.number(_SCALARS[kind])
    if kind == STRING:
        return stream.string()
    if kind != LIST:
        raise stream.error(f"must hold metadata of a known type, not of type {kind}")
    inner = stream.number("<I")
    count = stream.count(MOST_LIST, "elements in a list")
    if inner == STRING:
        return [stream.string() for _ in range(count)]
    if inner not in _SCALARS:
        raise stream.error(f"must hold lists of numbers or strings, not of type {inner}")
    code = _SCALARS[inner][1]
    return list(struct.unpack(f"<{count}{code}", stream.take(count * struct.calcsize(f"<{code}"))))


def _entry(stream: _Stream) -> GgufEntry:
    name, dimensions = stream.string(), stream.number("<I")
    if dimensions > MOST_DIMENSIONS:
        raise stream.error(
            f"must hold tensors of at most {MOST_DIMENSIONS} dimensions, not {name!r:.80} of {dimensions}"
        )
    shape = struct.unpack(f"<{dimensions}Q", stream.take(8 * dimensions))
    kind, offset = stream.number("<I"), stream.number("<Q")
    return GgufEntry(name, tuple(reversed(shape)), kind, offset, stream.file, stream.size)
