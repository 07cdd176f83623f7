"""Where the division of a layer's input by a scale goes: into what makes the input, so that it costs nothing.

A normalisation that feeds only the layers at hand has its weight and bias divided. A linear layer before (values before
the output projection, up before down) has its rows and its bias divided, as nothing but a product by other numbers
stands between: the gate's activation, or a ReLU, which lets positive factors pass. Where neither holds (a GELU between,
one matrix for queries, keys and values, a norm that others read too) there is no place, and no scale.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float32

from haloquant.lm.checkpoint.reader import Checkpoint, LinearLayer
from haloquant.lm.checkpoint.safetensors import StoredTensor, read_float32
from haloquant.lm.export.model_folder import RawTensor
from haloquant.lm.export.original_files import narrow, read_config
from haloquant.records.layer_names import GPT2, LLAMA, NEOX, OPT, PHI3


@dataclass(frozen=True)
class Fold:
    """One input: the linear layers that read it, and what is divided by its scale."""

    layers: tuple[str, ...]
    vectors: tuple[str, ...]  # stored tensors: weight and bias of a norm, or the bias of `maker`
    maker: str | None = None  # the linear layer whose rows are divided; None: a norm makes the input
    heads: tuple[int, int] = (1, 1)  # of queries and of values: a value head may stand several times in the input

    def rows(self, scale: Float32[np.ndarray, " in"]) -> Float32[np.ndarray, " rows"]:
        """What the rows of the maker are divided by: the scale of each value head's first appearance."""
        queries, values = self.heads
        return np.ascontiguousarray(scale.reshape(values, queries // values, -1)[:, 0].reshape(-1))


# Readers (all of them, within the block) and the norm before them, or the linear layer before the one reader.
_MAKERS = {LLAMA.attention_output: "self_attn.v_proj", LLAMA.feed_forward_down: "mlp.up_proj"}
_LLAMA = {LLAMA.query_key_value: "input_layernorm", LLAMA.feed_forward_up: "post_attention_layernorm"}
NORMS: dict[str, dict[tuple[str, ...], str]] = {
    **dict.fromkeys(("llama", "mistral", "qwen2", "qwen3", "smollm3"), _LLAMA),
    "phi3": {PHI3.query_key_value: "input_layernorm", PHI3.feed_forward_up: "post_attention_layernorm"},
    "opt": {OPT.query_key_value: "self_attn_layer_norm", OPT.feed_forward_up: "final_layer_norm"},
    "gpt_neox": {NEOX.query_key_value: "input_layernorm", NEOX.feed_forward_up: "post_attention_layernorm"},
    "gpt2": {GPT2.query_key_value: "ln_1", GPT2.feed_forward_up: "ln_2"},
}
# Gemma's norms multiply by 1 + weight, which a division does not reach; its linear layers take it.
MAKERS: dict[str, dict[tuple[str, ...], str]] = {
    **dict.fromkeys(("llama", "mistral", "qwen2", "qwen3", "smollm3", "gemma", "gemma2"), _MAKERS),
    "opt": {OPT.attention_output: "self_attn.v_proj", OPT.feed_forward_down: "fc1"},
}
_PREFIX = re.compile(r"^(.*?\.\d+\.)(.+)$")


def folds(checkpoint: Checkpoint) -> tuple[Fold, ...]:
    """Every input of the chosen layers whose scale has a place, in order of execution."""
    kind = checkpoint.architecture.model_type
    config = read_config(checkpoint)
    norms, makers = dict(NORMS.get(kind, {})), dict(MAKERS.get(kind, {}))
    if not config.get("do_layer_norm_before", True):  # OPT-350m normalises after
        norms = {}
    if kind == "opt" and config.get("activation_function", "relu") != "relu":
        makers.pop(("fc2",))
    blocks: dict[str, dict[str, LinearLayer]] = {}
    for layer in checkpoint.layers:
        if layer.block is not None and (match := _PREFIX.match(layer.name)):
            blocks.setdefault(match[1], {})[match[2]] = layer
    found: list[tuple[int, Fold]] = []
    for prefix, layers in blocks.items():
        for readers, before in (norms | makers).items():
            if not all(reader in layers for reader in readers):
                continue
            names = tuple(prefix + reader for reader in readers)
            fold = (
                _norm(checkpoint, names, prefix + before)
                if readers in norms
                else _maker(checkpoint, names, layers.get(before))
            )
            if fold is not None:
                found.append((layers[readers[0]].group, fold))
    return tuple(fold for _, fold in sorted(found, key=lambda item: item[0]))


def folded_tensors(
    checkpoint: Checkpoint, places: tuple[Fold, ...], scales: Mapping[str, Float32[np.ndarray, " _"]]
) -> dict[str, RawTensor]:
    """The stored vectors divided by the scales of their inputs, in the type in which they are stored.

    By a power of two that is exact. Rows of linear layers are not here: they are divided before they are rounded.
    """
    made: dict[str, RawTensor] = {}
    for fold in places:
        scale = scales.get(fold.layers[0])
        if scale is None:
            continue
        divisor = scale if fold.maker is None else fold.rows(scale)
        for name in fold.vectors:
            tensor = checkpoint.tensors[name]
            divided = read_float32(tensor).reshape(-1) / divisor
            made[name] = RawTensor(tensor.dtype, tensor.shape, narrow(divided, tensor.dtype, name))
    return made


def with_others_of(checkpoint: Checkpoint, packed: Mapping[str, StoredTensor]) -> Checkpoint:
    """The checkpoint with norms, biases and embeddings as a packed model has them, into which scales may be folded."""
    same = {
        name: tensor
        for name, tensor in packed.items()
        if name in checkpoint.tensors and checkpoint.tensors[name].shape == tensor.shape
    }
    return replace(checkpoint, tensors={**checkpoint.tensors, **same})


def _norm(checkpoint: Checkpoint, names: tuple[str, ...], norm: str) -> Fold | None:
    vectors = tuple(name for name in (f"{norm}.weight", f"{norm}.bias") if name in checkpoint.tensors)
    owned = all(name not in checkpoint.shared and name not in checkpoint.shared.values() for name in vectors)
    return Fold(names, vectors) if f"{norm}.weight" in vectors and owned else None


def _maker(checkpoint: Checkpoint, names: tuple[str, ...], maker: LinearLayer | None) -> Fold | None:
    reader = next(layer for layer in checkpoint.layers if layer.name == names[0])
    if maker is None:
        return None
    heads = (1, 1)
    if maker.out_features != reader.in_features:  # grouped queries: each value head serves a run of query heads
        queries, values = checkpoint.architecture.heads, checkpoint.architecture.kv_heads
        if maker.out_features * (queries // values) != reader.in_features:
            return None
        heads = (queries, values)
    return Fold(names, () if maker.bias is None else (maker.bias,), maker.name, heads)
