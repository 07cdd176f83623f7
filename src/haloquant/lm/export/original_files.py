"""Parts that all exports share: tensors and settings taken from the original model folder, and checks."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from haloquant.errors import InputError
from haloquant.lm.checkpoint.architectures import split_block
from haloquant.lm.checkpoint.linear_layers import LinearLayer
from haloquant.lm.checkpoint.model_config import is_quantized, read_config
from haloquant.lm.checkpoint.reader import Checkpoint, read_layer
from haloquant.lm.export.model_folder import RawTensor, ShardWriter
from haloquant.quant.format.packing import PackedWeight
from haloquant.records import BitCount, QuantizedWeight

Progress = Callable[[int, int], None]
FLOATS = {"F32": "float32", "F16": "float16", "BF16": "bfloat16"}


@dataclass(frozen=True)
class Exported:
    """Result of an export."""

    folder: Path
    bits: BitCount  # stored bits of the quantized layers in this format
    total_bytes: int  # of all tensors


def cast(weight: np.ndarray, dtype: str, layer: str) -> np.ndarray:
    """Return a float32 array as a contiguous array of `dtype`, rounded to nearest even; bfloat16 as bits in uint16.

    Args:
        weight: the array.
        dtype: "F32", "F16" or "BF16".
        layer: name for the error sentence.

    Raises:
        InputError: A value overflows float16.
    """
    weight = np.ascontiguousarray(weight, np.float32)
    if dtype == "F32":
        return weight
    if dtype == "BF16":
        bits = weight.view(np.uint32)
        even = (bits >> np.uint32(16)) & np.uint32(1)
        return ((bits + np.uint32(0x7FFF) + even) >> np.uint32(16)).astype(np.uint16)
    with np.errstate(over="ignore"):
        half = weight.astype(np.float16)
    if not np.isfinite(half).all():
        raise InputError(f"weights of {layer} must fit float16, and some are too large: export as BF16")
    return half


def find_layer(known: Mapping[str, LinearLayer], q: QuantizedWeight | PackedWeight) -> LinearLayer:
    """Return the checkpoint's layer that `q` is the quantized form of.

    Args:
        known: the layers of the checkpoint by name.
        q: a quantized layer.

    Raises:
        InputError: There is no such layer, or it has another shape.
    """
    layer = known.get(q.layer)
    if layer is None:
        raise InputError(f"a quantized layer must be one of the checkpoint's, not {q.layer!r}")
    grid = q.tiles.grid
    shape = q.codes.shape if isinstance(q, QuantizedWeight) else (grid.out_features, grid.in_features)
    if shape != (layer.out_features, layer.in_features):
        raise InputError(f"{q.layer} must be quantized as {(layer.out_features, layer.in_features)}, not {shape}")
    return layer


def write_other_experts(checkpoint: Checkpoint, writer: ShardWriter, packed: set[str]) -> None:
    """Write the experts that stay in full precision in a stacked tensor whose other experts are packed.

    Each is written as a layer of its own, [out, in], in the tensor's type.

    Args:
        checkpoint: the original model.
        writer: receives the tensors.
        packed: names of the layers that are packed.
    """
    split = {layer.tensor for layer in checkpoint.layers if layer.slice is not None and layer.name in packed}
    for layer in (*checkpoint.layers, *checkpoint.unchosen):
        if layer.tensor in split and layer.name not in packed:
            tensor = checkpoint.tensors[layer.tensor]
            dtype = tensor.copied_dtype if tensor.copied_dtype in FLOATS else "F32"
            weight = cast(read_layer(tensor, layer), dtype, layer.name)
            writer.add(f"{layer.name}.weight", RawTensor(dtype, (layer.out_features, layer.in_features), weight))


def check_same_codebooks(first: QuantizedWeight | PackedWeight, q: QuantizedWeight | PackedWeight) -> None:
    """Refuse a layer whose codebooks or tile sizes are not those of the first.

    Raises:
        InputError: The codebooks or tile sizes differ.
    """
    sizes = [(x.tiles.grid.tile_out, x.tiles.grid.tile_in) for x in (first, q)]
    if sizes[0] != sizes[1]:
        raise InputError(f"all layers of a packed model must have tiles of {sizes[0]}, not {sizes[1]} as {q.layer}")
    words = [[(b.name, b.point, b.values.tolist()) for b in x.codebooks] for x in (first, q)]
    if words[0] != words[1]:
        raise InputError(f"all layers of a packed model must have the same codebooks, not others as {q.layer}")


def copy_other_tensors(
    checkpoint: Checkpoint, writer: ShardWriter, replaced: set[str], changed: Mapping[str, RawTensor] | None = None
) -> None:
    """Copy every tensor that was not replaced, except a head that is tied to the embedding.

    Args:
        checkpoint: the original model.
        writer: receives the tensors.
        replaced: names of the tensors that were written in quantized form.
        changed: tensors to write instead of the original ones, by name.
    """
    tied = checkpoint.shared if checkpoint.architecture.tied_embeddings else {}
    for name, tensor in checkpoint.tensors.items():
        if name in replaced or (name in tied and split_block(name) is None):
            continue
        writer.add(name, (changed or {}).get(name) or RawTensor.read(tensor))


def float_type(checkpoint: Checkpoint, config: Mapping[str, Any]) -> str:
    """Return the model's floating-point type as named in safetensors: that of config.json, else of the first tensor."""
    named = {long: short for short, long in FLOATS.items()}
    configured = named.get(str(config.get("dtype", config.get("torch_dtype"))))
    return configured or next((t.dtype for t in checkpoint.tensors.values() if t.dtype in FLOATS), "F32")


def with_dtype(config: dict[str, Any], dtype: str) -> dict[str, Any]:
    """Return the configuration with `dtype` set; the older name `torch_dtype` is removed."""
    return {key: value for key, value in config.items() if key != "torch_dtype"} | {"dtype": FLOATS[dtype]}


def full_precision_config(checkpoint: Checkpoint) -> dict[str, Any]:
    """Return the original config.json.

    Raises:
        InputError: The model is quantized already.
        CheckpointError: The configuration is not a JSON object.
    """
    config = read_config(checkpoint.folder)
    if is_quantized(config):
        path = checkpoint.folder / "config.json"
        raise InputError(f"{path} must be of a model in full precision, not one that is quantized already")
    return config
