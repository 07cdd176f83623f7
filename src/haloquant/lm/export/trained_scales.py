"""Write a packed model again with other scales and offsets, with masks, or with bits of rounded inputs.

All else is copied byte for byte.
"""

from collections.abc import Mapping
from pathlib import Path

import msgspec
import numpy as np
from jaxtyping import Float16

from haloquant.errors import InputError
from haloquant.lm.checkpoint.model_config import read_config
from haloquant.lm.export.model_folder import (
    MANIFEST,
    SHARD_BYTES,
    RawTensor,
    ShardWriter,
    copy_small_files,
    new_model_folder,
    write_json,
)
from haloquant.lm.packed.config import digest, needed_version
from haloquant.lm.packed.reader import PackedModel
from haloquant.quant.format.input_masks import pack_mask
from haloquant.quant.format.packing import OFFSET
from haloquant.quant.input_sparsity.scores import InputMask
from haloquant.records.mixed_activations import MixedActivations
from haloquant.store.atomic_files import read_manifest

THRESHOLD_BITS = 64  # a number of JSON holds a float64


def export_with_scales(
    model: PackedModel,
    scales: Mapping[str, Float16[np.ndarray, "_ _"]],
    folder: Path,
    made_by: Mapping[str, str],
    shard_bytes: int = SHARD_BYTES,
    offsets: Mapping[str, Float16[np.ndarray, "_ _"]] | None = None,
) -> float:
    """Write a packed model with other scales, and with offsets if there are any.

    Args:
        model: the packed model.
        scales: new scales by layer, [out, across]; layers that are not named keep theirs.
        folder: target; must not exist or be empty.
        made_by: versions and settings, which the manifest keeps beside those of the model.
        shard_bytes: greatest size of a shard.
        offsets: new offsets by layer, [out, across]; layers that are not named keep theirs.

    Returns:
        The stored bits for each weight of the packed layers.

    Raises:
        InputError: Scales or offsets are of another shape or not finite, or the folder is not empty.
    """
    changed = {f"{layer}.weight_scale": scale for layer, scale in scales.items()}
    changed |= {f"{layer}.{OFFSET}": offset for layer, offset in (offsets or {}).items()}
    for name, values in changed.items():
        shape = model.tensors[name.replace(OFFSET, "weight_scale")].shape
        if values.shape != shape or not np.isfinite(values).all():
            raise InputError(f"{name} must be finite float16 numbers of shape {shape}, not {values.shape}")
    return export_changed(model, changed, folder, made_by, shard_bytes)


def export_masks(
    model: PackedModel,
    masks: Mapping[str, InputMask],
    folder: Path,
    made_by: Mapping[str, str],
    shard_bytes: int = SHARD_BYTES,
) -> int:
    """Write a packed model with masks of inputs.

    Args:
        model: the packed model.
        masks: masks by layer; layers that are not named stay as they are.
        folder: target; must not exist or be empty.
        made_by: settings, which the manifest keeps beside those of the model.
        shard_bytes: greatest size of a shard.

    Returns:
        The stored bits that the masks add to the model.

    Raises:
        InputError: The folder is not empty.
    """
    changed = {f"{layer}.{name}": array for layer, mask in masks.items() for name, array in pack_mask(mask).items()}
    export_changed(model, changed, folder, made_by, shard_bytes)
    return sum(8 * array.nbytes for name, array in changed.items() if name not in model.tensors)


def export_activations(
    model: PackedModel, activations: MixedActivations, folder: Path, made_by: Mapping[str, str]
) -> int:
    """Write a packed model with the bits of its rounded inputs, and the thresholds that choose tokens for the low ones.

    Args:
        model: the packed model.
        activations: bits and thresholds.
        folder: target; must not exist or be empty.
        made_by: settings, which the manifest keeps beside those of the model.

    Returns:
        The stored bits that the thresholds add to the model.

    Raises:
        InputError: The folder is not empty.
    """
    export_changed(model, {}, folder, made_by, SHARD_BYTES, activations)
    return THRESHOLD_BITS * len(activations.thresholds)


def export_changed(
    model: PackedModel,
    changed: Mapping[str, np.ndarray],
    folder: Path,
    made_by: Mapping[str, str],
    shard_bytes: int,
    activations: MixedActivations | None = None,
) -> float:
    """Write a packed model with other or further tensors, and return its stored bits for each weight.

    Args:
        model: the packed model.
        changed: the tensors by name, those of its layers.
        folder: target; must not exist or be empty.
        made_by: versions and settings, which the manifest keeps beside those of the model.
        shard_bytes: greatest size of a shard.
        activations: bits of rounded inputs and thresholds, in place of those of the model.

    Raises:
        InputError: The folder is not empty.
    """
    added = [name for name in changed if name not in model.tensors]
    bits = model.config.bits_per_weight
    more = 8 * sum(changed[name].nbytes for name in added)
    more += THRESHOLD_BITS * len(activations.thresholds) if activations else 0
    if more:
        bits = round(bits + more / packed_weights(model), 6)
    with new_model_folder(folder, {**origin_of(model.folder), **made_by}) as temporary:
        writer = ShardWriter(temporary, shard_bytes)
        for name, tensor in model.tensors.items():
            writer.add(name, RawTensor.of(changed[name]) if name in changed else RawTensor.read(tensor))
        for name in added:
            writer.add(name, RawTensor.of(changed[name]))
        writer.finish()
        config = model.config if activations is None else msgspec.structs.replace(model.config, activations=activations)
        version = needed_version(writer.lines, config.stored_activations() is not None)
        config = msgspec.structs.replace(config, version=version, bits_per_weight=bits)
        config = msgspec.structs.replace(config, sha256=digest(config, writer.lines))
        write_json(temporary / "config.json", read_config(model.folder) | {"quantization_config": config.as_dict()})
        copy_small_files(model.folder, temporary)
    return bits


def packed_weights(model: PackedModel) -> int:
    """Return the number of weights of the packed layers."""
    shapes = (RawTensor.read(model.tensors[f"{layer}.weight_shape"]).data.view("<i4") for layer in model.config.layers)
    return sum(int(shape[0]) * int(shape[1]) for shape in shapes)


def origin_of(folder: Path) -> Mapping[str, str]:
    """Return what the manifest of a packed model says about its origin; nothing where it has none."""
    return read_manifest(folder, MANIFEST).made_by if (folder / MANIFEST).is_file() else {}
