"""Find where the division of a layer's input by a scale can be folded into the tensors that produce the input.

Folding makes the division free at run time. There are two cases:
- A normalization that feeds only these layers: its weight and bias are divided.
- A linear layer that produces the input (values before the output projection, `up` before `down`): its rows and bias
  are divided. This is valid because the operation in between is a product with other numbers (the gate's activation),
  or a ReLU, for which relu(x / s) = relu(x) / s if s > 0.
In all other cases (a GELU in between, one matrix for queries, keys and values, a norm that other layers read too) the
input has no scale.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float32

from haloquant.lm.checkpoint.reader import Checkpoint, LinearLayer
from haloquant.lm.checkpoint.safetensors import StoredTensor, read_float32
from haloquant.lm.export.model_folder import RawTensor
from haloquant.lm.export.original_files import cast, full_precision_config
from haloquant.records.layer_names import GPT2, LLAMA, NEOX, OPT, PHI3


@dataclass(frozen=True)
class Fold:
    """One input: the linear layers that read it, and the tensors that are divided by its scale."""

    layers: tuple[str, ...]
    vectors: tuple[str, ...]  # stored tensors: weight and bias of a norm, or the bias of `producer`
    producer: str | None = None  # the linear layer whose rows are divided; None: a norm produces the input
    heads: tuple[int, int] = (1, 1)  # query heads and value heads; the input may repeat a value head several times

    def row_divisors(self, scale: Float32[np.ndarray, " in"]) -> Float32[np.ndarray, " rows"]:
        """Return the divisor of each output row of the layer that produces this input.

        With grouped queries, it is the scale of the first query head that reads each value head.
        """
        queries, values = self.heads
        return np.ascontiguousarray(scale.reshape(values, queries // values, -1)[:, 0].reshape(-1))


# All layers of a block that read an input, and the norm or the linear layer that produces it.
_PRODUCERS = {LLAMA.attention_output: "self_attn.v_proj", LLAMA.feed_forward_down: "mlp.up_proj"}
_LLAMA = {LLAMA.query_key_value: "input_layernorm", LLAMA.feed_forward_up: "post_attention_layernorm"}
NORMS: dict[str, dict[tuple[str, ...], str]] = {
    **dict.fromkeys(("llama", "mistral", "qwen2", "qwen3", "smollm3"), _LLAMA),
    "phi3": {PHI3.query_key_value: "input_layernorm", PHI3.feed_forward_up: "post_attention_layernorm"},
    "opt": {OPT.query_key_value: "self_attn_layer_norm", OPT.feed_forward_up: "final_layer_norm"},
    "gpt_neox": {NEOX.query_key_value: "input_layernorm", NEOX.feed_forward_up: "post_attention_layernorm"},
    "gpt2": {GPT2.query_key_value: "ln_1", GPT2.feed_forward_up: "ln_2"},
}
# Gemma's norms multiply by 1 + weight, so dividing the weight does not divide the output; only its linear layers fold.
PRODUCERS: dict[str, dict[tuple[str, ...], str]] = {
    **dict.fromkeys(("llama", "mistral", "qwen2", "qwen3", "smollm3", "gemma", "gemma2"), _PRODUCERS),
    "opt": {OPT.attention_output: "self_attn.v_proj", OPT.feed_forward_down: "fc1"},
}
_PREFIX = re.compile(r"^(.*?\.\d+\.)(.+)$")


def folds(checkpoint: Checkpoint) -> tuple[Fold, ...]:
    """Return every input of the selected layers whose scale can be folded, in order of execution."""
    kind = checkpoint.architecture.model_type
    config = full_precision_config(checkpoint)
    norms, producers = dict(NORMS.get(kind, {})), dict(PRODUCERS.get(kind, {}))
    if not config.get("do_layer_norm_before", True):  # OPT-350m normalizes after each layer
        norms = {}
    if kind == "opt" and config.get("activation_function", "relu") != "relu":
        producers.pop(("fc2",))
    blocks: dict[str, dict[str, LinearLayer]] = {}
    for layer in checkpoint.layers:
        if layer.block is not None and (match := _PREFIX.match(layer.name)):
            blocks.setdefault(match[1], {})[match[2]] = layer
    found: list[tuple[int, Fold]] = []
    for prefix, layers in blocks.items():
        for readers, before in (norms | producers).items():
            if not all(reader in layers for reader in readers):
                continue
            names = tuple(prefix + reader for reader in readers)
            fold = (
                _from_norm(checkpoint, names, prefix + before)
                if readers in norms
                else _from_linear(checkpoint, names, layers.get(before))
            )
            if fold is not None:
                found.append((layers[readers[0]].group, fold))
    return tuple(fold for _, fold in sorted(found, key=lambda item: item[0]))


def folded_tensors(
    checkpoint: Checkpoint,
    places: tuple[Fold, ...],
    scales: Mapping[str, Float32[np.ndarray, " _"]],
    dtype: str | None = None,
) -> dict[str, RawTensor]:
    """Return the stored vectors divided by the scales of their inputs, in their stored type or in `dtype`.

    Division by a power of two is exact. The rows of linear layers are not included; they are divided before they are
    rounded.

    Args:
        checkpoint: the original model.
        places: the inputs, as `folds` returns them.
        scales: {first layer that reads an input: scale of each input channel}.
        dtype: "F32", "F16" or "BF16"; None keeps the stored type.
    """
    divided: dict[str, RawTensor] = {}
    for fold in places:
        scale = scales.get(fold.layers[0])
        if scale is None:
            continue
        divisor = scale if fold.producer is None else fold.row_divisors(scale)
        for name in fold.vectors:
            tensor = checkpoint.tensors[name]
            quotient = read_float32(tensor).reshape(-1) / divisor
            kind = dtype or tensor.copied_dtype
            divided[name] = RawTensor(kind, tensor.shape, cast(quotient, kind, name))
    return divided


def with_others_of(checkpoint: Checkpoint, packed: Mapping[str, StoredTensor]) -> Checkpoint:
    """Return the checkpoint with the unquantized tensors (norms, biases, embeddings) of a packed model.

    Scales may have been folded into them.
    """
    same = {
        name: tensor
        for name, tensor in packed.items()
        if name in checkpoint.tensors and checkpoint.tensors[name].shape == tensor.shape
    }
    return replace(checkpoint, tensors={**checkpoint.tensors, **same})


def _from_norm(checkpoint: Checkpoint, names: tuple[str, ...], norm: str) -> Fold | None:
    vectors = tuple(name for name in (f"{norm}.weight", f"{norm}.bias") if name in checkpoint.tensors)
    owned = all(name not in checkpoint.shared and name not in checkpoint.shared.values() for name in vectors)
    return Fold(names, vectors) if f"{norm}.weight" in vectors and owned else None


def _from_linear(checkpoint: Checkpoint, names: tuple[str, ...], producer: LinearLayer | None) -> Fold | None:
    reader = next(layer for layer in checkpoint.layers if layer.name == names[0])
    if producer is None:
        return None
    heads = (1, 1)
    if producer.out_features != reader.in_features:  # grouped queries: several query heads read each value head
        queries, values = checkpoint.architecture.heads, checkpoint.architecture.kv_heads
        if producer.out_features * (queries // values) != reader.in_features:
            return None
        heads = (queries, values)
    return Fold(names, () if producer.bias is None else (producer.bias,), producer.name, heads)
