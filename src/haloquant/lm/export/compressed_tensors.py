"""Write the dense part of a quantized model in the compressed-tensors format, which transformers and vLLM load.

The dense part of HALO is int8 words times a scale per (output channel, tile). This equals the format "pack-quantized"
with 8 bits and groups as long as a tile. It stores 8 bits per weight instead of about 4, and it is read without
haloquant. Sparse weights have their own scales, which this format cannot hold.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

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
    cast,
    check_same_codebooks,
    copy_other_tensors,
    find_layer,
    float_type,
    full_precision_config,
    with_dtype,
)
from haloquant.quant.layer import mac_values
from haloquant.records import BitCount, QuantizedWeight


def export_compressed(
    checkpoint: Checkpoint,
    quantized: Iterable[QuantizedWeight],
    folder: Path,
    *,
    made_by: Mapping[str, str] | None = None,
    shard_bytes: int = SHARD_BYTES,
    progress: Progress | None = None,
) -> Exported:
    """Write a model in compressed-tensors' pack-quantized format, 8 bits, groups of `tile_in` inputs.

    Args:
        checkpoint: the original model.
        quantized: layers in HALO form, without sparse weights.
        folder: target; must not exist or be empty.
        made_by: versions and settings, kept in the manifest.
        shard_bytes: greatest size of a shard.
        progress: called with the number of layers done and of the layers of the checkpoint.

    Raises:
        InputError: A layer holds sparse weights, is not a whole number of groups wide, has other tiles than the first,
            or is not an ordinary linear layer of the checkpoint.
    """
    config = full_precision_config(checkpoint)
    known = {layer.name: layer for layer in checkpoint.layers}
    kind = float_type(checkpoint, config)
    bits, done = BitCount(), 0
    first: QuantizedWeight | None = None
    with new_model_folder(folder, made_by or {}) as temporary:
        writer = ShardWriter(temporary, shard_bytes)
        replaced: set[str] = set()
        for q in quantized:
            first = q if first is None else first
            layer = find_layer(known, q)
            check_same_codebooks(first, q)
            if layer.slice is not None:
                raise InputError(
                    f"{q.layer} must be a linear layer of its own to be written as compressed-tensors, not a part of "
                    f"the stacked tensor {layer.tensor}; export packed or dequantized"
                )
            _check_fits(q, layer.transposed)
            tensors = compress(q)
            for name, tensor in tensors.items():
                writer.add(f"{q.layer}.{name}", tensor)
            bits += BitCount(
                weights=q.codes.size,
                codes=8 * tensors["weight_packed"].data.nbytes,
                scales=8 * tensors["weight_scale"].data.nbytes,
            )
            replaced.add(layer.tensor)
            done += 1
            if progress is not None:
                progress(done, len(checkpoint.layers))
        if first is None:
            raise InputError("a compressed-tensors model must have at least one quantized layer, not none")
        copy_other_tensors(checkpoint, writer, replaced)
        writer.finish()
        unpacked = {
            name.removesuffix(".weight")
            for name, tensor in checkpoint.tensors.items()
            if len(tensor.shape) == 2 and name not in replaced
        }
        scheme = _scheme(first.tiles.grid.tile_in, sorted(unpacked | {"lm_head"}))
        write_json(temporary / "config.json", with_dtype(config, kind) | {"quantization_config": scheme})
        copy_small_files(checkpoint.folder, temporary)
    return Exported(folder, bits, writer.total_bytes)


def compress(q: QuantizedWeight) -> dict[str, RawTensor]:
    """Return the tensors of one layer: four bytes of word + 128 in an int32, lowest first; scales in float16; shape."""
    offset = (mac_values(q) + 128).astype(np.uint8)
    return {
        "weight_packed": RawTensor("I32", (offset.shape[0], offset.shape[1] // 4), np.ascontiguousarray(offset)),
        "weight_scale": RawTensor("F16", q.scale.shape, cast(q.scale, "F16", q.layer)),
        "weight_shape": RawTensor.of(np.array(q.codes.shape, np.int64)),
    }


def _check_fits(q: QuantizedWeight, transposed: bool) -> None:
    group, width = q.tiles.grid.tile_in, q.tiles.grid.in_features
    if not np.array_equal(q.scale.astype(np.float16).astype(np.float32), q.scale):
        raise InputError(
            f"{q.layer} must have scales that float16 holds to be written as compressed-tensors, but its weights are "
            "too small; export packed or dequantized"
        )
    if q.offset is not None:
        raise InputError(
            f"{q.layer} must have no offsets to be written as compressed-tensors, whose 8-bit weights have none; "
            "export dequantized, or train scales alone"
        )
    if q.sparse.values.size:
        raise InputError(
            f"{q.layer} must have no sparse weights to be written as compressed-tensors, not {q.sparse.values.size} of "
            f"{q.codes.size}: their scales do not fit; quantize with --sparse-budget 0, or export packed or dequantized"
        )
    if transposed:
        raise InputError(
            f"{q.layer} must be stored as [out, in] to be written as compressed-tensors, but the model stores it as "
            "[in, out] (Conv1D), which that format does not have; export packed or dequantized"
        )
    if width % group or width % 4:
        raise InputError(
            f"{q.layer} must be a linear layer whose {width} inputs are a multiple of the tile's {group} and of 4 to "
            "be written as compressed-tensors; export packed or dequantized"
        )


def _scheme(group: int, ignore: list[str]) -> dict[str, Any]:
    return {
        "quant_method": "compressed-tensors",
        "format": "pack-quantized",
        "quantization_status": "compressed",
        "config_groups": {
            "group_0": {
                "targets": ["Linear"],
                "weights": {
                    "num_bits": 8,
                    "type": "int",
                    "symmetric": True,
                    "strategy": "group",
                    "group_size": group,
                    "dynamic": False,
                },
                "input_activations": None,
                "output_activations": None,
            }
        },
        "ignore": ignore,
    }
