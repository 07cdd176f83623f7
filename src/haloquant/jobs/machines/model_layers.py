"""The shape of a model folder for the machine model: the layers that it has, in the order in which they run."""

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from haloquant.accel.workload.decoder_shape import LatentAttention, ModelShape, WeightLayer
from haloquant.accel.workload.model_shapes import shape_from_config
from haloquant.accel.workload.prefill_decode import decode
from haloquant.errors import InputError
from haloquant.lm.checkpoint.architectures import Architecture
from haloquant.lm.checkpoint.linear_layers import LinearLayer, expert_family
from haloquant.lm.checkpoint.model_config import read_config, text_part, whole_number
from haloquant.lm.checkpoint.reader import Checkpoint, virtual_checkpoint
from haloquant.lm.packed.reader import PackedModel
from haloquant.quant.format.packing import DENSE, OPTIONAL
from haloquant.records.layer_names import HEAD

EXPERTS_PER_TOKEN = (
    "num_experts_per_tok", "num_experts_per_token", "moe_topk", "top_k", "moe_k", "num_selected_experts", "moe_top_k",
)  # fmt: skip
_ATTENTION_OUTPUT = re.compile(r"att.*\.(o_proj|out_proj|dense|c_proj|proj|wo|o|Wo|o_b_proj)$")


def shape_of_checkpoint(checkpoint: Checkpoint, name: str) -> ModelShape:
    """Return the shape of a checkpoint, with the layers that it has.

    Raises:
        InputError: The machine model cannot run it.
    """
    config = read_config(checkpoint.folder)
    return _shape(config, checkpoint.architecture, (*checkpoint.layers, *checkpoint.unchosen), name)


def shape_of_config(path: Path, config: Mapping[str, object], shapes: Mapping[str, tuple[int, ...]]) -> ModelShape:
    """Return the shape of the model that a config.json describes.

    Args:
        path: the config.json.
        config: its content.
        shapes: name and shape of every tensor that the model has.

    Raises:
        InputError: The machine model cannot run it.
    """
    made = virtual_checkpoint(path, config, shapes)
    named = str(config.get("_name_or_path") or path.parent.resolve().name)
    return _shape(config, made.architecture, (*made.layers, *made.unchosen), named)


def shape_of_packed(packed: PackedModel, sizes: Mapping[str, tuple[int, int]], name: str) -> ModelShape:
    """Return the shape of a packed model, with the layers that it has, packed or not.

    Args:
        packed: the model.
        sizes: out_features and in_features of each packed layer.
        name: name of the shape.

    Raises:
        InputError: The machine model cannot run it.
    """
    path = packed.folder / "config.json"
    config = {key: value for key, value in read_config(packed.folder).items() if key != "quantization_config"}
    shapes: dict[str, tuple[int, ...]] = {f"{layer}.weight": size for layer, size in sizes.items()}
    for tensor in packed.tensors.values():
        owner, _, last = tensor.name.rpartition(".")
        if last not in (*DENSE, *OPTIONAL) and owner not in sizes:
            shapes[tensor.name] = tensor.shape
    made = virtual_checkpoint(path, config, shapes)
    return _shape(config, made.architecture, (*made.layers, *made.unchosen), name)


def _shape(
    config: Mapping[str, object], architecture: Architecture, layers: tuple[LinearLayer, ...], name: str
) -> ModelShape:
    inner = text_part(config)
    windows = _windows(inner, architecture.blocks)
    plain = _plain_shape(inner, layers, name)
    if plain is not None:
        return replace(plain, windows=windows)
    heads, kv_heads = architecture.heads, architecture.kv_heads
    if heads % kv_heads:
        heads = kv_heads = 1
    listed = [_weight_layer(layer) for layer in layers if layer.block is not None]
    head = next((layer for layer in layers if layer.block is None), None)
    vocabulary, hidden = architecture.vocabulary, architecture.hidden_size
    last = WeightLayer(HEAD, vocabulary, hidden, 0)
    if head is not None:
        last = WeightLayer(head.name, head.out_features, head.in_features, 0)
    ordered = sorted(listed, key=lambda layer: layer.group)
    return ModelShape(
        name,
        "llama",
        hidden,
        architecture.intermediate_size,
        architecture.blocks,
        heads,
        kv_heads,
        vocabulary,
        architecture.head_dim or hidden,
        (*ordered, last),
        whole_number(inner, EXPERTS_PER_TOKEN) or 1,
        windows=windows,
        latent=_latent(inner),
    )


def _windows(config: Mapping[str, object], blocks: int) -> tuple[int, ...]:
    """Return how many tokens the attention of each block reads at most (0: all), by the configuration.

    `layer_types` names the blocks with a window. Older configurations have a pattern, or a window in every block.
    """
    window = config.get("sliding_window")
    if not isinstance(window, int) or isinstance(window, bool) or window < 1 or not config.get("use_sliding_window", 1):
        return ()
    kinds = config.get("layer_types")
    if isinstance(kinds, list) and len(kinds) == blocks:
        return tuple(window if kind == "sliding_attention" else 0 for kind in kinds)
    every = whole_number(config, ("sliding_window_pattern",)) or (2 if config.get("model_type") == "gemma2" else 0)
    return tuple(0 if every and (block + 1) % every == 0 else window for block in range(blocks))


def _latent(config: Mapping[str, object]) -> LatentAttention | None:
    """Return the sizes of latent attention if the configuration has them."""
    sizes = [
        whole_number(config, (key,)) for key in ("kv_lora_rank", "qk_nope_head_dim", "qk_rope_head_dim", "v_head_dim")
    ]
    if any(size is None for size in sizes):
        return None
    rank, key, rotary, value = (size or 0 for size in sizes)
    return LatentAttention(whole_number(config, ("q_lora_rank",)) or 0, rank, key, rotary, value)


def _plain_shape(config: Mapping[str, object], layers: tuple[LinearLayer, ...], name: str) -> ModelShape | None:
    """Return the shape by the sizes of the configuration, if the model has exactly the layers of that shape."""
    try:
        shape = shape_from_config(config, name)
        gemms = decode(shape, 1).gemms
    except InputError:
        return None
    wanted = {gemm.layer: (gemm.n, gemm.k) for gemm in gemms if gemm.weight_stationary and gemm.layer != HEAD}
    given = {layer.name: (layer.out_features, layer.in_features) for layer in layers if layer.block is not None}
    return shape if wanted == given else None


def _weight_layer(layer: LinearLayer) -> WeightLayer:
    family = expert_family(layer.name) or ""
    after = _ATTENTION_OUTPUT.search(layer.name) is not None
    return WeightLayer(layer.name, layer.out_features, layer.in_features, layer.group, family, after)
