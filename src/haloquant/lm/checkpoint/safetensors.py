"""Read safetensors files as float32, without torch. Headers are checked before anything is allocated.

A file is 8 bytes of header length (little endian), a JSON header {name: {dtype, shape, data_offsets}}, and the data
(format: https://github.com/huggingface/safetensors). Data is read through a buffer of fixed size and not through a
memory map. So resident memory is bounded by the arrays that the caller keeps, and a truncated file raises an error
instead of the signal SIGBUS.
"""

import json
import stat
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from jaxtyping import Float32

from haloquant.errors import MALFORMED, CheckpointError
from haloquant.lm.checkpoint.remote import RemoteFile
from haloquant.store.placeholder_files import BEGINNING, stand_in

MAX_HEADER_BYTES = 100 << 20
CHUNK_BYTES = 1 << 20  # small enough to be still in the processor cache when it is converted
ITEM_BYTES = {
    "F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "I16": 2, "I8": 1, "U64": 8, "U32": 4, "U16": 2,
    "U8": 1, "BOOL": 1, "F8_E4M3": 1, "F8_E5M2": 1,
}  # fmt: skip
READABLE = ("F32", "F16", "BF16", "F64")


@dataclass(frozen=True, slots=True)
class StoredTensor:
    """Where one tensor is stored: file, byte offset from the start of the file, element type and shape."""

    name: str
    file: Path | RemoteFile
    dtype: str
    shape: tuple[int, ...]
    offset: int
    size_bytes: int

    @property
    def count(self) -> int:
        """Number of elements."""
        return prod(self.shape)

    @property
    def files(self) -> tuple[Path | RemoteFile, ...]:
        """The files that hold the values."""
        return (self.file,)

    @property
    def readable(self) -> bool:
        """Whether the values can be read as float32."""
        return self.dtype in READABLE

    @property
    def copied_dtype(self) -> str:
        """The type in which a copy has exactly the same values."""
        return self.dtype

    def fill(self, out: Float32[np.ndarray, " n"], start: int) -> None:
        """Read elements `start` to `start + out.size` in storage order; `read_float32` checks the arguments.

        Raises:
            CheckpointError: The file ends early, or a value is NaN or infinite.
        """
        item = ITEM_BYTES[self.dtype]
        step = CHUNK_BYTES // item
        with self.file.open("rb", buffering=0) as stream:
            stream.seek(self.offset + start * item)
            buffer = bytearray(min(step, max(out.size, 1)) * item)
            for first in range(0, out.size, step):
                piece = out[first : first + step]
                view = memoryview(buffer)[: piece.size * item]
                read_exactly(stream, view, self)
                _convert(view, self.dtype, piece)
                check_piece(piece, self, start + first)


class _Entry(msgspec.Struct):
    dtype: str
    shape: list[int]
    data_offsets: tuple[int, int]


def read_header(file: Path | RemoteFile) -> dict[str, StoredTensor]:
    """Return the tensors of a safetensors file by name; only the header is read.

    Raises:
        CheckpointError: The file is truncated or not a safetensors file, or its header contradicts itself or the file
            size.
    """
    try:
        status = file.stat()
        if not stat.S_ISREG(status.st_mode):  # reading a named pipe could block forever
            raise CheckpointError(f"{file} must be a regular file, and is not")
        size = status.st_size
        with file.open("rb") as stream:
            return _parse_header(stream, file, size)
    except FileNotFoundError as error:
        raise CheckpointError(f"{file} must exist, but it is missing") from error
    except OSError as error:
        raise CheckpointError(f"{file} must be readable, but: {error.strerror}") from error


def _parse_header(stream: Any, file: Path | RemoteFile, size: int) -> dict[str, StoredTensor]:
    beginning = stream.read(8)
    length = int.from_bytes(beginning, "little")
    if size < 10 or not 2 <= length <= min(MAX_HEADER_BYTES, size - 8):
        raise CheckpointError(
            stand_in(Path(str(file)), beginning + stream.read(BEGINNING))
            or (
                f"{file} must be a whole safetensors file, but its header claims {length} bytes in a file of {size}"
                if size
                else f"{file} must be a whole safetensors file, but is empty; download this file again"
            )
        )
    try:
        header = stream.read(length)
        raw = msgspec.json.decode(header, type=dict[str, msgspec.Raw])
        json.loads(header, object_pairs_hook=_once)
        raw.pop("__metadata__", None)
        entries = {name: msgspec.json.decode(value, type=_Entry) for name, value in raw.items()}
    except MALFORMED as error:
        raise CheckpointError(f"{file} must be a safetensors file, but its header is damaged: {error}") from error
    start = 8 + length
    tensors = {name: _check_entry(file, name, entry, start, size) for name, entry in entries.items()}
    _check_overlap(file, tensors)
    _check_end(file, tensors, start, size)
    return tensors


def _once(pairs: list[tuple[str, object]]) -> None:
    """Refuse a header that holds a name twice: readers differ in which of the two they take."""
    seen: set[str] = set()
    for name, _ in pairs:
        if name in seen:
            raise ValueError(f"the name {name!r:.80} stands twice")
        seen.add(name)


def _check_entry(file: Path | RemoteFile, name: str, entry: _Entry, start: int, size: int) -> StoredTensor:
    begin, end = entry.data_offsets
    if entry.dtype not in ITEM_BYTES:
        raise CheckpointError(f"{file}: tensor {name} must have a known element type, not {entry.dtype!r}")
    if any(n < 0 for n in entry.shape) or len(entry.shape) > 8:
        raise CheckpointError(f"{file}: tensor {name} must have a shape, not {entry.shape}")
    wanted = prod(entry.shape) * ITEM_BYTES[entry.dtype]
    if begin < 0 or end - begin != wanted:
        raise CheckpointError(
            f"{file}: tensor {name} of shape {entry.shape} in {entry.dtype} must take {wanted} bytes, not {end - begin}"
        )
    if start + end > size:
        raise CheckpointError(
            f"{file} is cut short: tensor {name} must end at byte {start + end}, but the file has {size}; "
            "download this file again"
        )
    return StoredTensor(name, file, entry.dtype, tuple(entry.shape), start + begin, wanted)


def _check_end(file: Path | RemoteFile, tensors: dict[str, StoredTensor], start: int, size: int) -> None:
    """Refuse bytes behind the last tensor, as the library `safetensors` does: a second download was appended."""
    end = max((tensor.offset + tensor.size_bytes for tensor in tensors.values()), default=start)
    if end < size:
        raise CheckpointError(
            f"{file} must end with its last tensor at byte {end}, but the file has {size}; download this file again"
        )


def _check_overlap(file: Path | RemoteFile, tensors: dict[str, StoredTensor]) -> None:
    """Refuse tensors that overlap in part. Two tensors may have exactly the same bytes (tied weights)."""
    previous: StoredTensor | None = None
    for tensor in sorted((t for t in tensors.values() if t.size_bytes), key=lambda t: (t.offset, t.size_bytes)):
        if previous is not None and tensor.offset < previous.offset + previous.size_bytes:
            if (tensor.offset, tensor.size_bytes) == (previous.offset, previous.size_bytes):
                continue
            raise CheckpointError(f"{file}: tensors {previous.name} and {tensor.name} must not overlap")
        previous = tensor


def read_float32(
    tensor: StoredTensor, start: int = 0, count: int | None = None, out: Float32[np.ndarray, " m"] | None = None
) -> Float32[np.ndarray, " n"]:
    """Read elements `start` to `start + count` of a tensor in storage order, as float32.

    Args:
        tensor: a tensor stored as F32, F16, BF16 or F64.
        start: index of the first element.
        count: number of elements; all from `start` on where None.
        out: array to fill, at least `count` long; new memory where None. Reusing one array saves the page faults of new
            memory, which cost more time than the reading.

    Returns:
        The elements; a view of the beginning of `out` if that was given.

    Raises:
        CheckpointError: The tensor is stored in another type, the file ends early, or a value is NaN or infinite.
    """
    check_readable(tensor)
    count = tensor.count - start if count is None else count
    if start < 0 or count < 0 or start + count > tensor.count:
        raise ValueError(f"elements {start} to {start + count} of {tensor.name} must lie within its {tensor.count}")
    if out is not None and out.size < count:
        raise ValueError(f"out must have room for {count} elements of {tensor.name}, not {out.size}")
    out = np.empty(count, np.float32) if out is None else out[:count]
    tensor.fill(out, start)
    return out


def check_readable(tensor: StoredTensor) -> None:
    """Refuse a tensor whose type is not read. No value is read.

    Raises:
        CheckpointError: It has such a type.
    """
    if not tensor.readable:
        raise CheckpointError(
            f"{tensor.file}: tensor {tensor.name} must be stored in {', '.join(READABLE)}, not {tensor.dtype}"
        )


def check_finite(tensor: StoredTensor) -> None:
    """Read a whole tensor piece by piece to check that its values are finite.

    Raises:
        CheckpointError: As `read_float32`.
    """
    step = 1 << 22
    buffer = np.empty(min(step, tensor.count), np.float32)
    for first in range(0, tensor.count, step):
        read_float32(tensor, first, min(step, tensor.count - first), buffer)


def read_exactly(stream: Any, view: memoryview, tensor: StoredTensor) -> None:
    """Fill `view` from an open file.

    Raises:
        CheckpointError: The file ends early.
    """
    done = 0
    while done < len(view):
        got = stream.readinto(view[done:])
        if not got:
            raise CheckpointError(f"{tensor.file} ended while tensor {tensor.name} was read; download this file again")
        done += got


def _convert(view: memoryview, dtype: str, out: np.ndarray) -> None:
    if dtype == "BF16":  # the upper half of a float32
        bits = out.view(np.uint32)
        bits[:] = np.frombuffer(view, "<u2")  # widen, then shift in place: half the time of a mixed-type shift
        bits <<= 16
    elif dtype == "F16":
        out[:] = np.frombuffer(view, "<f2")
    elif dtype == "F32":
        out[:] = np.frombuffer(view, "<f4")
    else:
        with np.errstate(over="ignore"):  # an overflow becomes infinity, which `check_piece` reports
            out[:] = np.frombuffer(view, "<f8")


def check_piece(piece: np.ndarray, tensor: StoredTensor, first: int) -> None:
    """Refuse NaN and infinity among the elements from `first` on.

    Raises:
        CheckpointError: A value is NaN or infinite; the sentence names its place.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        if np.isfinite(np.dot(piece, piece)):  # faster than testing each value; not finite if one is not
            return
    finite = np.isfinite(piece)
    if finite.all():
        return
    bad = int(np.argmin(finite))
    place = tuple(int(i) for i in np.unravel_index(first + bad, tensor.shape))
    raise CheckpointError(
        f"{tensor.file}: tensor {tensor.name} must be finite, but holds {piece[bad]} at {place}; "
        "the checkpoint is damaged or was saved from a diverged run"
    )
