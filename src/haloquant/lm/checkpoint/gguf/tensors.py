"""Read the tensors of a GGUF file as float32, de-quantized by the `gguf` package, through a buffer of fixed size."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from math import prod
from pathlib import Path

import numpy as np
from jaxtyping import Float32

from haloquant.errors import CheckpointError
from haloquant.lm.checkpoint.gguf.header import GgufEntry
from haloquant.lm.checkpoint.gguf.layout import Layout
from haloquant.lm.checkpoint.gguf.package import gguf_package
from haloquant.lm.checkpoint.safetensors import CHUNK_BYTES, StoredTensor, check_piece, read_exactly


@dataclass(frozen=True, slots=True)
class GgufTensor(StoredTensor):
    """A tensor of a GGUF file, under its name and in its shape in a Hugging Face checkpoint.

    `dtype` is the name of its type, for example "Q4_1". A block of `block` values takes `block_bytes` bytes.
    """

    stored_shape: tuple[int, ...]
    block: int
    block_bytes: int
    layout: Layout

    @property
    def readable(self) -> bool:
        """Whether its values can be read as float32: True, as other types are refused when the file is opened."""
        return True

    @property
    def copied_dtype(self) -> str:
        """The type of safetensors in which a copy has exactly the same values."""
        return self.dtype if self.dtype in ("F16", "BF16") and self.layout.change != "one added" else "F32"

    def fill(self, out: Float32[np.ndarray, " n"], start: int) -> None:
        """Read elements `start` to `start + out.size`, in the order of the checkpoint.

        Raises:
            CheckpointError: The file ends early, or a value is NaN or infinite.
        """
        if self.layout.change in ("none", "one added", "one row"):
            self._fill_stored(out, start)
            out[:] = self.layout.undo(out)
        else:
            whole = np.empty(self.count, np.float32)
            self._fill_stored(whole, 0)
            out[:] = self.layout.undo(whole.reshape(self.stored_shape)).reshape(-1)[start : start + out.size]
        check_piece(out, self, start)

    def _fill_stored(self, out: Float32[np.ndarray, " n"], start: int) -> None:
        """Read elements in the order of the file, block by block."""
        first, end = start // self.block, -(-(start + out.size) // self.block)
        step = max(1, CHUNK_BYTES // self.block_bytes)
        buffer = bytearray(min(step, max(end - first, 1)) * self.block_bytes)
        with Path(self.file).open("rb", buffering=0) as stream:
            stream.seek(self.offset + first * self.block_bytes)
            for block in range(first, end, step):
                view = memoryview(buffer)[: min(step, end - block) * self.block_bytes]
                read_exactly(stream, view, self)
                values = _dequantize(view, self.dtype)
                begin = block * self.block - start  # place of the values in `out`
                cut = max(0, -begin)
                piece = values[cut : out.size - begin]
                out[begin + cut : begin + cut + piece.size] = piece


def gguf_tensor(entry: GgufEntry, name: str, layout: Layout) -> GgufTensor:
    """Return an entry of the table of tensors as a tensor of the checkpoint.

    Args:
        entry: a line of the table of a file.
        name: name in the checkpoint.
        layout: what the converter changed.

    Raises:
        CheckpointError: Its type is unknown or not a type of weights, its rows are not whole blocks, or the file ends
            before it.
    """
    kind, block, block_bytes = _type_of(entry)
    count = prod(entry.shape)
    if not entry.shape or entry.shape[-1] % block:
        raise CheckpointError(
            f"{entry.file}: rows of tensor {entry.name} in {kind} must be whole blocks of {block}, not {entry.shape}"
        )
    size = count // block * block_bytes
    if entry.offset + size > entry.file_bytes:
        raise CheckpointError(
            f"{entry.file} is cut short: tensor {entry.name} must end at byte {entry.offset + size}, but the file has "
            f"{entry.file_bytes}; download this file again"
        )
    return GgufTensor(
        name, entry.file, kind, layout.shape(entry.shape), entry.offset, size, entry.shape, block, block_bytes, layout
    )


def gguf_slices(entry: GgufEntry, names: Sequence[str]) -> list[GgufTensor]:
    """Return the slices [i, ., .] of a stacked tensor as tensors of their own.

    Args:
        entry: a line of the table of a file; its first dimension has the length of `names`.
        names: names of the slices in the checkpoint.

    Raises:
        CheckpointError: As `gguf_tensor`.
    """
    whole = gguf_tensor(entry, entry.name, Layout())
    size = whole.size_bytes // max(len(names), 1)
    slices = [replace(entry, shape=entry.shape[1:], offset=entry.offset + i * size) for i in range(len(names))]
    return [gguf_tensor(part, name, Layout()) for part, name in zip(slices, names, strict=True)]


def types_note(tensors: Iterable[GgufTensor]) -> tuple[str, ...]:
    """Return one sentence on the types of the tensors of a model, if some are not floating-point types."""
    counts: dict[str, int] = {}
    for tensor in tensors:
        counts[tensor.dtype] = counts.get(tensor.dtype, 0) + 1
    if counts.keys() <= {"F64", "F32", "F16", "BF16"}:
        return ()
    listed = ", ".join(f"{kind} ({count})" for kind, count in sorted(counts.items(), key=lambda item: -item[1]))
    return (f"the tensors of the GGUF file are {listed}; their values count as the model's full precision",)


def _type_of(entry: GgufEntry) -> tuple[str, int, int]:
    """Return name, values in a block and bytes of a block of the type of a tensor.

    Raises:
        CheckpointError: The gguf package does not know the type or cannot de-quantize it.
    """
    found = _readable_type(entry.ggml_type)
    if found is None:
        kinds = {int(kind): kind.name for kind in gguf_package().GGMLQuantizationType}
        given = kinds.get(entry.ggml_type, "which it does not know")
        raise CheckpointError(
            f"{entry.file}: tensor {entry.name} must have a type that the installed gguf package can de-quantize, "
            f"such as F16, Q8_0 or Q4_K, not type {entry.ggml_type} ({given})"
        )
    return found


@cache
def _readable_type(number: int) -> tuple[str, int, int] | None:
    """Return name, values in a block and bytes of a block of a type, or None if the package cannot de-quantize it."""
    gguf = gguf_package()
    if number not in {int(kind) for kind in gguf.GGMLQuantizationType}:
        return None
    kind = gguf.GGMLQuantizationType(number)
    if kind not in gguf.GGML_QUANT_SIZES:
        return None
    block, block_bytes = gguf.GGML_QUANT_SIZES[kind]
    if kind.name != "F64":  # `_dequantize` reads it without the package
        try:
            gguf.quants.dequantize(np.zeros((1, block_bytes), np.uint8), kind)
        except NotImplementedError:
            return None
    return kind.name, block, block_bytes


def _dequantize(data: memoryview, kind: str) -> Float32[np.ndarray, " n"]:
    if kind == "F64":
        with np.errstate(over="ignore"):  # an overflow becomes infinity, which the caller reports
            return np.frombuffer(data, "<f8").astype(np.float32)
    gguf = gguf_package()
    raw = np.frombuffer(data, np.uint8).reshape(1, -1)
    with np.errstate(over="ignore", invalid="ignore"):
        return gguf.quants.dequantize(raw, gguf.GGMLQuantizationType[kind]).reshape(-1)
