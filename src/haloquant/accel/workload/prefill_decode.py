"""One forward pass as matrix products: the prefill of a prompt, or one decode step with a context.

Softmax, normalisation, rotary embedding and the nonlinearity are left out. They run on a vector unit, and their work is
small and the same for every quantization.
"""

from dataclasses import dataclass
from typing import Literal

from haloquant.accel.workload.model_shapes import ModelShape
from haloquant.errors import InputError
from haloquant.records import Gemm
from haloquant.records.layer_names import BLOCK_LAYERS, BLOCK_PREFIX, HEAD

# The two products of attention, which have no weights.
SCORES = "self_attn.scores"
VALUES = "self_attn.values"


@dataclass(frozen=True)
class Workload:
    """The matrix products of one forward pass.

    `tokens` counts the new tokens of all sequences of the batch; energy per token is divided by it.
    """

    name: str
    phase: Literal["prefill", "decode"]
    gemms: tuple[Gemm, ...]
    tokens: int
    batch: int
    context: int  # tokens that attention reads, the new ones included

    @property
    def macs(self) -> int:
        """Multiply-accumulates of the pass."""
        return sum(g.m * g.k * g.n * g.count for g in self.gemms)


def prefill(
    shape: ModelShape, tokens: int, batch: int = 1, attention: bool = True, head_rows: int | None = None
) -> Workload:
    """Return the pass that reads `tokens` tokens of each of `batch` prompts.

    Args:
        shape: The model.
        tokens: Prompt length. Attention is dense over it; the causal half is not skipped.
        batch: Number of prompts read together.
        attention: Whether the products of attention are counted. The HALO paper's figures leave them out.
        head_rows: Rows of the output head. The default is one per prompt, as generation needs; `tokens * batch` is
            what scoring a text needs.

    Raises:
        InputError: a number is not positive.
    """
    _positive("tokens", tokens)
    _positive("batch", batch)
    rows = batch if head_rows is None else head_rows
    _positive("head_rows", rows)
    gemms = _gemms(shape, tokens, tokens, batch, attention, rows)
    return Workload(f"{shape.name} prefill {tokens} x {batch}", "prefill", gemms, tokens * batch, batch, tokens)


def decode(shape: ModelShape, context: int, batch: int = 1, attention: bool = True) -> Workload:
    """Return the pass that makes one new token for each of `batch` sequences, with `context` tokens in attention.

    Raises:
        InputError: a number is not positive.
    """
    _positive("context", context)
    _positive("batch", batch)
    gemms = _gemms(shape, 1, context, batch, attention, batch)
    return Workload(f"{shape.name} decode {batch} at context {context}", "decode", gemms, batch, batch, context)


def _gemms(
    shape: ModelShape, tokens: int, context: int, batch: int, attention: bool, head_rows: int
) -> tuple[Gemm, ...]:
    if shape.weight_layers:
        return _gemms_of_layers(shape, tokens, context, batch, attention, head_rows)
    m = tokens * batch
    size = shape.head_features
    q, kv = shape.heads * size, shape.kv_heads * size
    names = BLOCK_LAYERS[shape.family]
    gemms: list[Gemm] = []
    group = 0
    shared = shape.heads // shape.kv_heads  # query heads that share keys become further rows of one product
    for layer in range(shape.layers):
        block = f"{BLOCK_PREFIX[shape.family]}.{layer}"
        for name, features in zip(names.query_key_value, (q, kv, kv), strict=True):
            gemms.append(Gemm(f"{block}.{name}", m, shape.hidden, features, group))
        group += 1
        if attention:
            heads = shape.kv_heads * batch
            gemms.append(Gemm(f"{block}.{SCORES}", tokens * shared, size, context, group, heads, False))
            gemms.append(Gemm(f"{block}.{VALUES}", tokens * shared, context, size, group + 1, heads, False))
            group += 2
        gemms += [Gemm(f"{block}.{name}", m, q, shape.hidden, group) for name in names.attention_output]
        gemms += [
            Gemm(f"{block}.{name}", m, shape.hidden, shape.intermediate, group + 1) for name in names.feed_forward_up
        ]
        gemms += [
            Gemm(f"{block}.{name}", m, shape.intermediate, shape.hidden, group + 2) for name in names.feed_forward_down
        ]
        group += 3
    gemms.append(Gemm(HEAD, head_rows, shape.hidden, shape.vocabulary, group))
    return tuple(gemms)


def _gemms_of_layers(
    shape: ModelShape, tokens: int, context: int, batch: int, attention: bool, head_rows: int
) -> tuple[Gemm, ...]:
    """Return the products of a model whose layers are listed.

    Tokens are spread evenly over the experts. If there are fewer tokens than experts, only the first experts run.
    """
    m = tokens * batch
    size, shared = shape.head_features, shape.heads // shape.kv_heads
    families: dict[str, int] = {}
    for layer in shape.weight_layers:
        families[layer.family] = families.get(layer.family, 0) + 1
    seen: dict[str, int] = {}
    gemms: list[Gemm] = []
    group, last = -1, -1
    *inner, head = shape.weight_layers
    for layer in inner:
        if layer.group != last:
            group, last = group + 1, layer.group
            if layer.after_attention and attention:
                block = layer.name.rpartition(".")[0]
                heads = shape.kv_heads * batch
                gemms.append(Gemm(f"{block}.scores", tokens * shared, size, context, group, heads, False))
                gemms.append(Gemm(f"{block}.values", tokens * shared, context, size, group + 1, heads, False))
                group += 2
        rows = m
        if layer.family:
            active = min(families[layer.family], m * shape.experts_per_token)
            number = seen[layer.family] = seen.get(layer.family, 0) + 1
            if number > active:
                continue
            rows = -(-m * shape.experts_per_token // active)
        if gemms and gemms[-1].group == group and gemms[-1].m != rows:
            group += 1  # experts beside a layer that every token passes: products of one group have equal rows
        gemms.append(Gemm(layer.name, rows, layer.in_features, layer.out_features, group))
    gemms.append(Gemm(head.name, head_rows, head.in_features, head.out_features, group + 1))
    return tuple(gemms)


def _positive(name: str, value: int) -> None:
    if value <= 0:
        raise InputError(f"{name} of a workload must be at least 1, not {value}.")
