"""Write a quantized model as an ordinary model: its dequantized weights in a floating-point type."""

from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
from jaxtyping import Float32

from haloquant.errors import InputError
from haloquant.lm.checkpoint.reader import Checkpoint, LinearLayer, read_tensor
from haloquant.lm.export.model_folder import (
    SHARD_BYTES,
    RawTensor,
    ShardWriter,
    copy_small_files,
    new_model_folder,
    write_json,
)
from haloquant.lm.export.original_files import (
    FLOATS,
    Exported,
    Progress,
    cast,
    copy_other_tensors,
    find_layer,
    float_type,
    full_precision_config,
    with_dtype,
)
from haloquant.quant.layer import dequantize
from haloquant.records import BitCount, QuantizedWeight


def export_dequantized(
    checkpoint: Checkpoint,
    quantized: Iterable[QuantizedWeight],
    folder: Path,
    *,
    dtype: str | None = None,
    made_by: Mapping[str, str] | None = None,
    shard_bytes: int = SHARD_BYTES,
    progress: Progress | None = None,
) -> Exported:
    """Write the dequantized weights as an ordinary model, which is read without haloquant.

    Args:
        checkpoint: the original model.
        quantized: layers in HALO form.
        folder: target; must not exist or be empty.
        dtype: type of the quantized layers: "BF16", "F16" or "F32"; where None, the type of the original model. F16
            and BF16 round the weights once more. Other tensors keep their type.
        made_by: versions and settings, kept in the manifest.
        shard_bytes: greatest size of a shard.
        progress: called with the number of layers done and of the layers of the checkpoint.

    Raises:
        InputError: As `export_packed`; or the dtype is not one of these, or a weight overflows it.
    """
    known = {layer.name: layer for layer in checkpoint.layers}
    weights = ((find_layer(known, q), dequantize(q)) for q in quantized)
    return export_weights(
        checkpoint, weights, folder, dtype=dtype, made_by=made_by, shard_bytes=shard_bytes, progress=progress
    )


def export_weights(
    checkpoint: Checkpoint,
    weights: Iterable[tuple[LinearLayer, Float32[np.ndarray, "out in"]]],
    folder: Path,
    *,
    dtype: str | None = None,
    made_by: Mapping[str, str] | None = None,
    shard_bytes: int = SHARD_BYTES,
    changed: Mapping[str, RawTensor] | None = None,
    progress: Progress | None = None,
) -> Exported:
    """Write an ordinary model with these weights in place of the original ones.

    Args:
        checkpoint: the original model.
        weights: layers of the checkpoint with their weights.
        folder: target; must not exist or be empty.
        dtype: type of these weights, as in `export_dequantized`.
        made_by: versions and settings, kept in the manifest.
        shard_bytes: greatest size of a shard.
        changed: other tensors to write instead of the original ones, by name.
        progress: called with the number of layers done and of the layers of the checkpoint.

    Raises:
        InputError: The model is quantized already, the folder is not empty, the dtype is not allowed, or a weight
            overflows it.
    """
    config = full_precision_config(checkpoint)
    dtype = float_type(checkpoint, config) if dtype is None else dtype
    if dtype not in FLOATS:
        raise InputError(f"dtype of a dequantized model must be one of {', '.join(FLOATS)}, not {dtype!r}")
    bits, done = BitCount(), 0
    slices: dict[str, np.ndarray] = {}
    with new_model_folder(folder, made_by or {}) as temporary:
        writer = ShardWriter(temporary, shard_bytes)
        replaced: set[str] = set()
        for layer, weight in weights:
            stored = cast(weight.T if layer.transposed else weight, dtype, layer.name)
            bits += BitCount(weights=weight.size, codes=8 * stored.nbytes)
            shape = checkpoint.tensors[layer.tensor].shape
            if layer.slice is None:
                writer.add(layer.tensor, RawTensor(dtype, shape, stored))
            else:  # a 3-D tensor of experts is written after its last expert
                if layer.tensor not in slices:
                    original = read_tensor(checkpoint, layer.tensor)
                    slices[layer.tensor] = cast(original, dtype, layer.tensor).reshape(shape[0], -1)
                slices[layer.tensor][layer.slice] = stored.ravel()
            replaced.add(layer.tensor)
            done += 1
            if progress is not None:
                progress(done, len(checkpoint.layers))
        for name, whole in slices.items():
            writer.add(name, RawTensor(dtype, checkpoint.tensors[name].shape, whole))
        copy_other_tensors(checkpoint, writer, replaced, changed)
        writer.finish()
        write_json(temporary / "config.json", with_dtype(config, dtype))
        copy_small_files(checkpoint.folder, temporary)
    return Exported(folder, bits, writer.total_bytes)
