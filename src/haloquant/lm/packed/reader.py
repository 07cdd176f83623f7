"""Read and verify a packed HALO folder, without torch. Every value is checked before it is used."""

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from os import cpu_count
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from jaxtyping import UInt8

from haloquant.errors import MALFORMED, CheckpointError, FormatError
from haloquant.lm.checkpoint.model_config import ADAPTER_CONFIG, read_config
from haloquant.lm.checkpoint.model_files import ADAPTER, MAX_INDEX_BYTES
from haloquant.lm.checkpoint.paths import is_shard_name, local_folder
from haloquant.lm.checkpoint.safetensors import StoredTensor, read_header
from haloquant.lm.export.model_folder import INDEX, MANIFEST, NAMES
from haloquant.lm.packed.config import (
    VERSION,
    PackedConfig,
    digest,
    needed_version,
    new_checksum,
    parse_config,
    tensor_line,
)
from haloquant.quant.format.input_masks import MASK_TENSORS, unpack_mask
from haloquant.quant.format.packing import DENSE, OPTIONAL, unpack
from haloquant.quant.input_sparsity.scores import InputMask
from haloquant.records import QuantizedWeight
from haloquant.store.atomic_files import check_files, read_bounded, read_manifest

PIECE_BYTES = 1 << 20
MOST_NAMED = 4  # files that a sentence lists
MOST_READERS = 32  # threads; enough to keep the queue of a fast disk full


@dataclass(frozen=True)
class PackedModel:
    """A packed folder whose configuration and headers were checked."""

    folder: Path
    config: PackedConfig
    tensors: Mapping[str, StoredTensor]


@dataclass(frozen=True)
class Verified:
    """The result of `verify`: the number of checked parts."""

    layers: int
    weights: int
    bits_per_weight: float
    tensors: int
    files: int  # checked checksums of the manifest; 0 where there is no manifest
    profile: str  # name of the MAC profile of the codebooks
    notes: tuple[str, ...] = ()  # sentences on files that could not be checked


def open_packed(folder: Path | str) -> PackedModel:
    """Open a packed folder: its configuration, its index and the headers of its shards.

    Raises:
        FormatError: Something is missing, contradicts itself, or is of another version.
        CheckpointError: The folder is absent or a header is damaged.
    """
    path = local_folder(folder)
    raw = read_config(path)
    if raw.get("quantization_config") is None:
        raise FormatError(
            f"{path} must be a packed model, and its config.json has no quantization_config; `haloquant quantize` "
            "makes one"
        )
    config = parse_config(raw["quantization_config"])
    tensors: dict[str, StoredTensor] = {}
    for file in shard_files(path):
        tensors |= read_header(file)
    check_names(config, tensors)
    return PackedModel(path, config, tensors)


def shard_files(folder: Path) -> list[Path]:
    """Return the shards of a model folder, sorted by name.

    Raises:
        FormatError: There are none, or the index names one that is missing.
    """
    index = folder / INDEX
    if not index.is_file():
        files = sorted(file for file in folder.glob("*.safetensors") if file.name != ADAPTER)
        if len(files) != 1:
            raise FormatError(f"{folder} must hold model.safetensors, or shards with {INDEX}, not {len(files)} shards")
        return files
    try:
        where = msgspec.json.decode(read_bounded(index, MAX_INDEX_BYTES, error=CheckpointError))["weight_map"]
        names = sorted(set(where.values()))
    except (*MALFORMED, KeyError, TypeError, AttributeError) as error:
        raise FormatError(f"{index} must map tensors to shards, but is damaged: {error}") from error
    for name in names:
        if not is_shard_name(name):
            raise FormatError(f"{index} must name shards beside it (*.safetensors), not {name!r:.80}")
        if not (folder / name).is_file():
            raise FormatError(f"{folder} must hold the shard {name}, which {INDEX} names, and it is missing")
    return [folder / name for name in names]


def has_adapter(folder: Path) -> bool:
    """Return whether an adapter of peft lies beside a packed model. transformers runs it beside the packed layers."""
    return (folder / ADAPTER_CONFIG).is_file()


def refuse_adapter(model: PackedModel, doing: str) -> None:
    """Refuse a packed model with an adapter where only its own weights are used.

    Raises:
        FormatError: An adapter lies beside the model. `doing` says what would be done without it.
    """
    if has_adapter(model.folder):
        raise FormatError(
            f"{model.folder} must hold no {ADAPTER_CONFIG} to be {doing}, as the adapter would be left out; move it to "
            "another folder"
        )


def check_names(config: PackedConfig, tensors: Mapping[str, Any]) -> None:
    """Refuse a model whose packed tensors are not exactly those of the layers that its configuration names.

    Raises:
        FormatError: A tensor is missing, or a tensor belongs to no layer.
    """
    layers = set(config.layers)
    for layer in config.layers:
        for name in DENSE:
            if f"{layer}.{name}" not in tensors:
                raise FormatError(f"{layer} must have a tensor {name}, and it is missing: the model is incomplete")
    for name in tensors:
        layer, _, last = name.rpartition(".")
        if last in (*DENSE, *OPTIONAL) and layer not in layers:
            raise FormatError(f"tensor {name} must belong to a layer that config.json names, and {layer} is not named")
        if (least := needed_version([name])) > max(config.version, VERSION):
            raise FormatError(f"a model with {name} must be of format version {least}, not {config.version}")


def read_layer(model: PackedModel, layer: str) -> QuantizedWeight:
    """Read one layer in HALO form.

    Raises:
        FormatError: The layer is not packed, or its tensors are damaged.
    """
    if layer not in model.config.layers:
        raise FormatError(f"a packed layer must be one that config.json names, not {layer!r}")
    prefix = f"{layer}."
    names = [name for name in (*DENSE, *OPTIONAL) if prefix + name in model.tensors]
    arrays = {name: _array(model.tensors[prefix + name]) for name in names}
    return unpack(arrays, layer, model.config.books(), model.config.tile_out, model.config.tile_in)


def read_mask(model: PackedModel, layer: str) -> InputMask | None:
    """Read the mask of a layer's inputs; None for a layer whose inputs are dense."""
    prefix = f"{layer}."
    names = [name for name in MASK_TENSORS if prefix + name in model.tensors]
    return unpack_mask({name: _array(model.tensors[prefix + name]) for name in names})


def iterate_layers(model: PackedModel) -> Iterator[QuantizedWeight]:
    """Yield every layer in HALO form, in the order in which the layers were written."""
    for layer in model.config.layers:
        yield read_layer(model, layer)


def check_digest(config: PackedConfig, tensors: Mapping[str, StoredTensor], threads: int | None = None) -> None:
    """Refuse tensors or a configuration that changed, even by one byte, since the model was written.

    Args:
        config: the configuration, with its digest.
        tensors: every tensor of the model by name.
        threads: number of reading threads; where None, twice the processors, at most `MOST_READERS`.

    Raises:
        FormatError: The digest differs.
    """
    workers = min(threads or 2 * (cpu_count() or 1), MOST_READERS)
    with ThreadPoolExecutor(workers) as pool:  # reading and hashing release the GIL
        found = pool.map(partial(tensor_digest, version=config.version), tensors.values())
        lines = dict(zip(tensors, found, strict=True))
    if digest(config, lines) != config.sha256:
        raise FormatError(
            "the model's tensors and quantization_config must be those it was written with, and their SHA-256 is not "
            f"{config.sha256 or 'given'}: a file is damaged, or the configuration (codebooks, profile, layers) was "
            "changed; copy the model again, or quantize again"
        )


def tensor_digest(tensor: StoredTensor, version: int) -> str:
    """Return the digest line of one stored tensor, read in pieces that fit the processor cache.

    Raises:
        CheckpointError: The file ends early or cannot be read.
    """
    checksum = new_checksum(version)
    buffer = memoryview(bytearray(min(PIECE_BYTES, tensor.size_bytes)))
    try:
        with tensor.file.open("rb", buffering=0) as stream:
            stream.seek(tensor.offset)
            left = tensor.size_bytes
            while left:
                got = stream.readinto(buffer[:left])
                if not got:
                    raise CheckpointError(f"{tensor.file} was cut short while it was read; copy the model again")
                checksum.update(buffer[:got])
                left -= got
    except OSError as error:
        raise CheckpointError(f"{tensor.file} must be readable, but: {error.strerror}") from error
    return tensor_line(tensor.dtype, tensor.shape, checksum.hexdigest())


def verify(folder: Path | str, profile_sha256: str | None = None) -> Verified:
    """Check every byte of a packed model: manifest, digest of tensors and configuration, and every code.

    Args:
        folder: the model.
        profile_sha256: hash of the MAC profile for which the model must be made; any profile where None.

    Returns:
        What was checked.

    Raises:
        FormatError: Something is damaged, missing, of another version, or made for another profile.
    """
    model = open_packed(folder)
    check_profile(model.config, profile_sha256)
    files, notes = _check_manifest(model.folder)
    check_digest(model.config, model.tensors)
    weights = sum(q.codes.size for q in iterate_layers(model))
    config = model.config
    return Verified(
        len(config.layers), weights, config.bits_per_weight, len(model.tensors), files, config.profile_name, notes
    )


def check_profile(config: PackedConfig, profile_sha256: str | None) -> None:
    """Refuse a model that was made for another MAC profile than `profile_sha256`; None accepts any.

    Raises:
        FormatError: The profile is another.
    """
    if profile_sha256 is not None and profile_sha256 != config.profile_sha256:
        raise FormatError(
            f"the model must be made for the profile {profile_sha256[:12]}, not for {config.profile_name} "
            f"({config.profile_sha256[:12]}): its weight values meet timing on that MAC only; quantize it again"
        )


def _check_manifest(folder: Path) -> tuple[int, tuple[str, ...]]:
    """Compare every file with the manifest.

    Returns:
        How many files it names, and sentences on those that it does not. 0 where there is no manifest, as in a folder
        that transformers saved: the digest in config.json covers the tensors and the codebooks there.
    """
    if not (folder / MANIFEST).is_file():
        return 0, (
            f"{MANIFEST} is missing, so only the tensors and quantization_config are checked, and no other value of "
            "config.json and no file of the tokenizer; haloquant writes a manifest, and save_pretrained does not",
        )
    manifest = read_manifest(folder, MANIFEST, FormatError)
    check_files(folder, manifest, MANIFEST, FormatError)
    there = [path.relative_to(folder) for path in sorted(folder.rglob("*")) if not path.is_dir()]
    others = [
        str(path)
        for path in there
        if str(path) not in manifest.files and str(path) != MANIFEST and not path.parts[0].startswith(".")
    ]
    if not others:
        return len(manifest.files), ()
    named = ", ".join(others[:MOST_NAMED]) + (", ..." if len(others) > MOST_NAMED else "")
    return len(manifest.files), (f"not checked, as {MANIFEST} does not name it: {named}",)


def stored_bytes(tensor: StoredTensor) -> UInt8[np.ndarray, " n"]:
    """Return the bytes of a tensor as they are in its file.

    Raises:
        CheckpointError: The file was cut short.
    """
    return np.array(_map(tensor))


def _map(tensor: StoredTensor) -> np.ndarray:
    if not tensor.size_bytes:
        return np.empty(0, np.uint8)
    if tensor.file.stat().st_size < tensor.offset + tensor.size_bytes:
        raise CheckpointError(f"{tensor.file} was cut short while it was read")
    return np.memmap(tensor.file, np.uint8, "r", tensor.offset, (tensor.size_bytes,))


def _array(tensor: StoredTensor) -> np.ndarray:
    dtype = NAMES[tensor.dtype]
    if dtype not in np.sctypeDict:
        raise FormatError(f"tensor {tensor.name} must be of a plain type, not {tensor.dtype}")
    return np.array(_map(tensor)).view(dtype).reshape(tensor.shape)
