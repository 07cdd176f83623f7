"""Write a model folder: shards in safetensors with an index, small files, and a manifest.

Everything is written into a temporary folder, which is then renamed. So a reader finds a complete model or none.
"""

import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import TensorSpec, serialize_file

from haloquant.errors import CheckpointError, InputError
from haloquant.lm.checkpoint.adapters import ADAPTER_CONFIG
from haloquant.lm.checkpoint.safetensors import StoredTensor, read_exactly, read_float32
from haloquant.lm.packed.config import line_of_data
from haloquant.store.atomic_files import atomic_folder, safetensors_file, sha256_file, sole_writer

MANIFEST = "halo_manifest.json"
INDEX = "model.safetensors.index.json"
SHARD_BYTES = 1 << 30
NAMES = {
    "F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16", "I64": "int64", "I32": "int32",
    "I16": "int16", "I8": "int8", "U64": "uint64", "U32": "uint32", "U16": "uint16", "U8": "uint8", "BOOL": "bool",
    "F8_E4M3": "float8_e4m3fn", "F8_E5M2": "float8_e5m2",
}  # fmt: skip
SHORT = {long: short for short, long in NAMES.items()}
COPIED_SUFFIXES = (".json", ".txt", ".model", ".jinja", ".tiktoken")
MOST_COPIED_BYTES = 256 << 20


@dataclass(frozen=True)
class RawTensor:
    """A tensor as bytes, so that types that numpy lacks (BF16) can be copied."""

    dtype: str  # name in safetensors, for example "BF16"
    shape: tuple[int, ...]
    data: np.ndarray  # contiguous; any type with the same number of bytes

    @classmethod
    def of(cls, array: np.ndarray) -> "RawTensor":
        """Make one from a numpy array."""
        array = np.ascontiguousarray(array)
        return cls(SHORT[array.dtype.name], array.shape, array)

    @classmethod
    def read(cls, tensor: StoredTensor) -> "RawTensor":
        """Read a stored tensor, byte for byte; another in `copied_dtype`, which has the same values.

        Raises:
            CheckpointError: The file ends early.
        """
        if type(tensor) is not StoredTensor:
            values = read_float32(tensor).reshape(tensor.shape)
            if tensor.copied_dtype == "BF16":  # the upper half of a float32; the lower half is zero
                return cls("BF16", tensor.shape, (values.view(np.uint32) >> np.uint32(16)).astype(np.uint16))
            return cls.of(values.astype(NAMES[tensor.copied_dtype]))
        data = np.empty(tensor.size_bytes, np.uint8)
        with tensor.file.open("rb") as stream:
            stream.seek(tensor.offset)
            read_exactly(stream, data.data, tensor)
        return cls(tensor.dtype, tensor.shape, data)


class ShardWriter:
    """Collect tensors and write a shard for every `shard_bytes`; `finish` names the shards and writes the index."""

    def __init__(self, folder: Path, shard_bytes: int = SHARD_BYTES) -> None:
        self.folder = folder
        self.shard_bytes = shard_bytes
        self.lines: dict[str, str] = {}  # tensor name -> its line in the digest
        self.total_bytes = 0
        self._pending: dict[str, RawTensor] = {}
        self._pending_bytes = 0
        self._shards: list[list[str]] = []

    def add(self, name: str, tensor: RawTensor) -> None:
        """Add one tensor. Its data must not change until the shard is written.

        Raises:
            InputError: A tensor of this name was added before.
            OSError: A shard cannot be written; the error names the file.
        """
        if name in self.lines:
            raise InputError(f"a tensor must be written once, not {name} twice")
        size = tensor.data.nbytes
        if self._pending and self._pending_bytes + size > self.shard_bytes:
            self._flush()
        self.lines[name] = line_of_data(tensor.dtype, tensor.shape, tensor.data)
        self._pending[name] = tensor
        self._pending_bytes += size
        self.total_bytes += size

    def finish(self) -> None:
        """Write the last shard, name the shards, and write the index if there is more than one.

        Raises:
            OSError: A file cannot be written; the error names the file.
        """
        self._flush()
        count = len(self._shards)
        names = ["model.safetensors"]
        if count > 1:
            names = [f"model-{number:05}-of-{count:05}.safetensors" for number in range(1, count + 1)]
        for number, name in enumerate(names):
            self._path(number).rename(self.folder / name)
        if count > 1:
            where = {tensor: name for name, tensors in zip(names, self._shards, strict=True) for tensor in tensors}
            write_json(
                self.folder / INDEX,
                {"metadata": {"total_size": self.total_bytes}, "weight_map": dict(sorted(where.items()))},
            )

    def _path(self, number: int) -> Path:
        return self.folder / f".shard-{number}.safetensors"

    def _flush(self) -> None:
        if not self._pending:
            return
        specs = {
            name: TensorSpec(
                dtype=NAMES[t.dtype], shape=list(t.shape), data_ptr=t.data.ctypes.data, data_len=t.data.nbytes
            )
            for name, t in self._pending.items()
        }
        path = self._path(len(self._shards))
        with safetensors_file(path):
            serialize_file(specs, path, metadata={"format": "pt"})
        self._shards.append(list(self._pending))
        self._pending, self._pending_bytes = {}, 0


def write_json(path: Path, value: Any) -> None:
    """Write indented JSON; keys keep their order. Infinity is written as transformers writes it."""
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def copy_small_files(source: Path, target: Path) -> None:
    """Copy small files such as the tokenizer and the generation settings; not weights, indices, code, config.json
    and the configuration of a merged adapter.

    Raises:
        CheckpointError: As `list_small_files`.
    """
    for file in list_small_files(source):
        if file.stat().st_size <= MOST_COPIED_BYTES:
            shutil.copyfile(file, target / file.name)


def list_small_files(source: Path) -> list[Path]:
    """Return the files of a model folder that `copy_small_files` copies.

    Raises:
        CheckpointError: A file is a link out of the folder. Copying it would put a private file of this machine into a
            model that may be published. Links into the `blobs` folder of a hub's cache are allowed, and links into the
            one folder that both config.json and the weights are links into.
    """
    homes = [source.resolve(), source.resolve().parent.parent / "blobs"]
    store = (source / "config.json").resolve().parent
    weights = {file.resolve().parent for file in source.glob("*.safetensors")}
    homes += [store] if weights == {store} else []
    found: list[Path] = []
    for file in sorted(source.iterdir()):
        skip = file.name in ("config.json", ADAPTER_CONFIG, MANIFEST) or file.name.endswith(".index.json")
        if file.suffix not in COPIED_SUFFIXES or skip or not file.is_file():
            continue
        if file.resolve().parent not in homes:
            raise CheckpointError(
                f"{file} must lie in the model folder, not be a link to {file.resolve()}: what it holds would be "
                "copied into the new model; put the file itself there, or remove it"
            )
        found.append(file)
    return found


def hash_small_files(source: Path) -> dict[str, str]:
    """Return the SHA-256 of each file that `copy_small_files` copies, by name.

    Raises:
        CheckpointError: As `list_small_files`.
    """
    files = (file for file in list_small_files(source) if file.stat().st_size <= MOST_COPIED_BYTES)
    return {file.name: sha256_file(file) for file in files}


def check_new_folder(target: Path) -> None:
    """Refuse a target for a new model folder that exists and is not an empty folder.

    Raises:
        InputError: It is.
    """
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise InputError(f"the model folder {target} must not exist or be empty; name another")


@contextmanager
def new_model_folder(target: Path, made_by: Mapping[str, str]) -> Iterator[Path]:
    """Yield an empty folder that becomes `target` on success, with a manifest of its files; see `atomic_folder`.

    Raises:
        BusyError: Another process writes the target.
        InputError: The target exists and is not empty.
    """
    with sole_writer(target):
        check_new_folder(target)
        with atomic_folder(target, made_by=made_by, manifest_name=MANIFEST) as temporary:
            yield temporary
