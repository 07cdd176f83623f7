"""Read a Hugging Face model folder one tensor at a time, without torch and without the model's class.

checkpoint = open_checkpoint(folder)
for layer in checkpoint.layers:
    weight = read_weight(checkpoint, layer)     # float32 [out, in]
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path

import numpy as np
from jaxtyping import Float32

from haloquant.errors import CheckpointError
from haloquant.lm.checkpoint.adapters import ADAPTER_CONFIG, merge_adapter
from haloquant.lm.checkpoint.architectures import (
    Architecture,
    architecture_of,
    complete_architecture,
    read_architecture,
)
from haloquant.lm.checkpoint.gguf.split import MARK
from haloquant.lm.checkpoint.hub import hub_note, origin
from haloquant.lm.checkpoint.linear_layers import LinearLayer, find_layers
from haloquant.lm.checkpoint.model_config import Config
from haloquant.lm.checkpoint.model_files import find_tensors, with_prefix
from haloquant.lm.checkpoint.paths import local_folder
from haloquant.lm.checkpoint.remote import RemoteFile, check_url, fetch_small, is_url, local_path
from haloquant.lm.checkpoint.safetensors import CHUNK_BYTES, StoredTensor, read_float32


@dataclass(frozen=True)
class Checkpoint:
    """A model whose headers were checked. `layers` are the linear layers to quantize, in order of execution.

    `folder` holds its configuration and tokenizer; `tensors` may lie in other files.

    `shared` maps a tensor's name to the name of the tensor whose bytes it shares. Shared bytes are read and quantized
    once.
    """

    folder: Path
    architecture: Architecture
    tensors: Mapping[str, StoredTensor]
    layers: tuple[LinearLayer, ...]
    shared: Mapping[str, str]
    url: str = ""  # location of the shards, if they are not in the folder
    notes: tuple[str, ...] = ()  # sentences for the user, such as names of files that are not read
    origin: str = ""  # owner/model@commit of a model in the hub's cache
    unchosen: tuple[LinearLayer, ...] = ()  # linear layers of the blocks and the head that stay in full precision
    others: tuple[str, ...] = ()  # matrices that are no linear layers of a decoder block

    @property
    def files(self) -> tuple[Path | RemoteFile, ...]:
        """The files that hold the tensors, sorted by name."""
        return tuple(sorted({file for tensor in self.tensors.values() for file in tensor.files}, key=str))

    def small_files(self) -> Path:
        """Return a folder with the model's small files: `folder`, or a copy if `folder` is on another machine."""
        if self.folder.is_dir():
            return self.folder
        return fetch_small(self.url) if self.url else local_folder(str(self.files[0]))

    @property
    def size_bytes(self) -> int:
        """Bytes of all tensors; shared bytes are counted once."""
        return sum(tensor.size_bytes for name, tensor in self.tensors.items() if name not in self.shared)

    def layer(self, name: str) -> LinearLayer:
        """Return the layer of that name.

        Raises:
            CheckpointError: There is no such layer.
        """
        for layer in self.layers:
            if layer.name == name:
                return layer
        raise CheckpointError(
            f"a layer must be one of the {len(self.layers)} linear layers of {self.folder}, not {name!r}"
        )


def open_checkpoint(folder: Path | str, include: Sequence[str] = (), exclude: Sequence[str] = ()) -> Checkpoint:
    """Open a model folder: read the configuration, the index and every header, and find the linear layers.

    Args:
        folder: a folder with config.json and model.safetensors, or with shards and model.safetensors.index.json; or the
            URL of such a folder (see `lm.checkpoint.remote`), from which tensors are then read; or a GGUF file.
        include: regular expressions, searched in module names. Where empty, every linear layer of the decoder blocks is
            selected. The language-model head is left in full precision unless a pattern matches it.
        exclude: regular expressions of modules to leave in full precision.

    Raises:
        CheckpointError: Something is missing, truncated, contradictory or of an unknown kind.
    """
    url = str(folder) if is_url(str(folder)) else ""
    if url and (local := local_path(url)) is not None:
        folder, url = local, ""
    url = check_url(url) if url else ""
    path = fetch_small(url) if url else local_folder(folder)
    came = origin(path)
    architecture = read_architecture(path)
    tensors, notes = _read_gguf(path) if (path / MARK).is_file() else find_tensors(path, url)
    tensors, merged = merge_adapter(path, with_prefix(tensors, architecture.model_type))
    shared = _find_shared(tensors)
    shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    architecture = complete_architecture(architecture, shapes, path / "config.json")
    found = find_layers(path, architecture, tensors, shared, include, exclude)
    said = (*hub_note(came), *notes, *merged)
    return Checkpoint(path, architecture, tensors, found.chosen, shared, url, said, came, found.unchosen, found.others)


def virtual_checkpoint(path: Path, config: Config, shapes: Mapping[str, tuple[int, ...]]) -> Checkpoint:
    """Return the checkpoint that tensors of these shapes would make, as if stored in 16 bits. It holds no values.

    Args:
        path: config.json, which gives the name.
        config: its content.
        shapes: name and shape of every tensor.

    Raises:
        CheckpointError: As `open_checkpoint`.
    """
    tensors = {name: StoredTensor(name, path, "F16", shape, 0, 2 * prod(shape)) for name, shape in shapes.items()}
    architecture = complete_architecture(architecture_of(config, path), shapes, path)
    found = find_layers(path, architecture, tensors, {}, (), ())
    return Checkpoint(path, architecture, tensors, found.chosen, {}, "", (), "", found.unchosen, found.others)


def read_weight(
    checkpoint: Checkpoint, layer: LinearLayer | str, out: Float32[np.ndarray, " m"] | None = None
) -> Float32[np.ndarray, "out in"]:
    """Read the weight matrix of one layer from disk, float32 [out_features, in_features].

    Args:
        checkpoint: an opened model folder.
        layer: one of its layers, or its name.
        out: flat array to read into, at least as long as the largest layer. The result is then a view
            of it (a copy if the layer is stored transposed), valid until the next read. New memory where None. Reusing
            one array saves the page faults of new memory, which cost more time than the reading.

    Raises:
        CheckpointError: The tensor cannot be read, or holds NaN or infinity.
    """
    layer = checkpoint.layer(layer) if isinstance(layer, str) else layer
    return read_layer(checkpoint.tensors[layer.tensor], layer, out)


def read_layer(
    tensor: StoredTensor, layer: LinearLayer, out: Float32[np.ndarray, " m"] | None = None
) -> Float32[np.ndarray, "out in"]:
    """As `read_weight`, from the layer's tensor alone, so that a worker does not need the whole checkpoint."""
    start = 0 if layer.slice is None else layer.slice * layer.weights
    flat = read_float32(tensor, start, layer.weights, out)
    if layer.transposed:
        return np.ascontiguousarray(flat.reshape(layer.in_features, layer.out_features).T)
    return flat.reshape(layer.out_features, layer.in_features)


def read_tensor(checkpoint: Checkpoint, name: str) -> Float32[np.ndarray, "..."]:
    """Read any tensor of the checkpoint as float32 in its stored shape, for example a bias, a norm or the embedding.

    Raises:
        CheckpointError: There is no such tensor, or it cannot be read.
    """
    if name not in checkpoint.tensors:
        raise CheckpointError(f"{checkpoint.folder} must hold a tensor {name!r}, but does not")
    tensor = checkpoint.tensors[name]
    return read_float32(tensor).reshape(tensor.shape)


def content_hash(checkpoint: Checkpoint) -> str:
    """Return the SHA-256 over the configuration and every byte of the shards; it identifies the model."""
    digest = hashlib.sha256((checkpoint.folder / "config.json").read_bytes())
    if (adapter := checkpoint.folder / ADAPTER_CONFIG).is_file():
        digest.update(adapter.read_bytes())
    for file in checkpoint.files:
        with file.open("rb") as stream:
            while chunk := stream.read(CHUNK_BYTES):
                digest.update(chunk)
    return digest.hexdigest()


def _read_gguf(folder: Path) -> tuple[Mapping[str, StoredTensor], tuple[str, ...]]:
    from haloquant.lm.checkpoint.gguf.folder import read_tensors

    return read_tensors(folder)


def _find_shared(tensors: Mapping[str, StoredTensor]) -> dict[str, str]:
    first: dict[tuple[Path | RemoteFile, int, int], str] = {}
    shared: dict[str, str] = {}
    for name, tensor in tensors.items():
        key = (tensor.file, tensor.offset, tensor.size_bytes)
        if tensor.size_bytes and key in first:
            shared[name] = first[key]
        else:
            first[key] = name
    return shared
