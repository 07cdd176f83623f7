"""Write a packed model again with other scales; codes, classes and every other tensor are copied byte for byte."""

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
from haloquant.lm.packed.config import VERSION, digest
from haloquant.lm.packed.reader import PackedModel
from haloquant.store.atomic_files import read_manifest


def export_with_scales(
    model: PackedModel,
    scales: Mapping[str, Float16[np.ndarray, "_ _"]],
    folder: Path,
    made_by: Mapping[str, str],
    shard_bytes: int = SHARD_BYTES,
) -> None:
    """Write a packed model with other scales.

    Args:
        model: the packed model.
        scales: new scales by layer, [out, across]; layers that are not named keep theirs.
        folder: target; must not exist or be empty.
        made_by: versions and settings, which the manifest keeps beside those of the model.
        shard_bytes: greatest size of a shard.

    Raises:
        InputError: Scales are of another shape or not finite, or the folder is not empty.
    """
    changed = {f"{layer}.weight_scale": scale for layer, scale in scales.items()}
    for name, scale in changed.items():
        shape = model.tensors[name].shape
        if scale.shape != shape or not np.isfinite(scale).all():
            raise InputError(f"{name} must be finite float16 numbers of shape {shape}, not {scale.shape}")
    with new_model_folder(folder, {**origin_of(model.folder), **made_by}) as temporary:
        writer = ShardWriter(temporary, shard_bytes)
        for name, tensor in model.tensors.items():
            writer.add(name, RawTensor.of(changed[name]) if name in changed else RawTensor.read(tensor))
        writer.finish()
        config = msgspec.structs.replace(model.config, version=VERSION)
        config = msgspec.structs.replace(config, sha256=digest(config, writer.lines))
        write_json(temporary / "config.json", read_config(model.folder) | {"quantization_config": config.as_dict()})
        copy_small_files(model.folder, temporary)


def origin_of(folder: Path) -> Mapping[str, str]:
    """Return what the manifest of a packed model says about its origin; nothing where it has none."""
    return read_manifest(folder, MANIFEST).made_by if (folder / MANIFEST).is_file() else {}
