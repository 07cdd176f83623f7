"""Write a quantized model as a packed HALO folder, one layer at a time, with at most one shard in memory."""

from collections.abc import Iterable, Mapping
from pathlib import Path

import msgspec
import numpy as np

from haloquant.errors import InputError
from haloquant.lm.checkpoint.reader import Checkpoint
from haloquant.lm.export.model_folder import (
    SHARD_BYTES,
    RawTensor,
    ShardWriter,
    copy_small_files,
    new_model_folder,
    write_json,
)
from haloquant.lm.export.original_files import (
    Exported,
    Progress,
    check_same_codebooks,
    copy_other_tensors,
    find_layer,
    float_type,
    full_precision_config,
    with_dtype,
    write_other_experts,
)
from haloquant.lm.packed.config import digest, make_config, needed_version
from haloquant.quant.format.packing import PackedWeight, pack, packed_bits
from haloquant.records import BitCount, QuantizedWeight


def export_packed(
    checkpoint: Checkpoint,
    quantized: Iterable[QuantizedWeight | PackedWeight],
    folder: Path,
    *,
    profile_name: str,
    profile_sha256: str,
    made_by: Mapping[str, str] | None = None,
    shard_bytes: int = SHARD_BYTES,
    changed: Mapping[str, RawTensor] | None = None,
    progress: Progress | None = None,
) -> Exported:
    """Write a packed HALO model, which `haloquant.load` and, after `import haloquant`, transformers can load.

    Args:
        checkpoint: the original model; tensors that are not quantized are copied byte for byte.
        quantized: layers in HALO form, or packed already, all with the same codebooks and tile sizes; a generator is
            allowed.
        folder: target; must not exist or be empty.
        profile_name: name of the MAC profile from which the codebooks were chosen.
        profile_sha256: hash of the profile.
        made_by: versions and settings, kept in the manifest.
        shard_bytes: greatest size of a shard.
        changed: tensors to write instead of the original ones: norms and biases into which a transform was folded.
        progress: called with the number of layers done and of the layers of the checkpoint.

    Raises:
        InputError: A layer is not in the checkpoint, comes twice, or has other codebooks or tile sizes than the first;
            or the folder is not empty.
    """
    config = full_precision_config(checkpoint)
    known = {layer.name: layer for layer in checkpoint.layers}
    bits, first, names = BitCount(), None, []
    with new_model_folder(folder, made_by or {}) as temporary:
        writer = ShardWriter(temporary, shard_bytes)
        replaced: set[str] = set()
        kind = float_type(checkpoint, config)
        for q in quantized:
            first = q if first is None else first
            layer = find_layer(known, q)
            check_same_codebooks(first, q)
            tensors = pack(q) if isinstance(q, QuantizedWeight) else q.tensors
            bits += packed_bits(tensors, q.codebooks)
            for name, array in tensors.items():
                writer.add(f"{q.layer}.{name}", RawTensor.of(array))
            # A reader that does not know this format refuses the shape of this empty tensor. Without the tensor, such a
            # reader would find the weight missing and might fill it with random numbers.
            writer.add(f"{q.layer}.weight", RawTensor(kind, (0,), np.empty(0, np.uint8)))
            replaced.add(layer.tensor)
            names.append(q.layer)
            if progress is not None:
                progress(len(names), len(checkpoint.layers))
        if first is None:
            raise InputError("a packed model must have at least one quantized layer, not none")
        write_other_experts(checkpoint, writer, set(names))
        copy_other_tensors(checkpoint, writer, replaced, changed)
        writer.finish()
        grid = first.tiles.grid
        packed = make_config(
            first.codebooks,
            grid.tile_out,
            grid.tile_in,
            tuple(names),
            (profile_name, profile_sha256),
            round(bits.per_weight, 6),
            needed_version(writer.lines),
        )
        packed = msgspec.structs.replace(packed, sha256=digest(packed, writer.lines))
        config = with_dtype(config, kind) | {"quantization_config": packed.as_dict()}
        write_json(temporary / "config.json", config)
        copy_small_files(checkpoint.folder, temporary)
    return Exported(folder, bits, writer.total_bytes)
