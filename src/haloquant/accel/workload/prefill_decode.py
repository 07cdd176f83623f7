"""One forward pass as matrix products: the prefill of a prompt, or one decode step with a context.

Softmax, normalization, rotary embedding and the nonlinearity are left out. They run on a vector unit, and their work is
small and the same for every quantization.
"""

from dataclasses import dataclass, replace
from typing import Literal

from haloquant.accel.workload.decoder_shape import BlockWeight, ModelShape
from haloquant.errors import InputError
from haloquant.records import Gemm
from haloquant.records.layer_names import BLOCK_PREFIX, HEAD

# The two products of attention, which have no weights.
SCORES = "scores"
VALUES = "values"

# More than any model reads or any machine serves; below it all counts of a pass fit 64 bits.
MOST_TOKENS = 1 << 24  # of a prompt or in the cache
MOST_SEQUENCES = 1 << 16  # of a batch


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
        InputError: A number is not positive.
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
        InputError: A number is not positive.
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
    gemms: list[Gemm] = []
    group = -1
    for block in range(shape.layers):
        prefix = f"{BLOCK_PREFIX[shape.family]}.{block}"
        role = ""
        for weight in shape.block_weights(block):
            if weight.role != role:
                role, group = weight.role, group + 1
                if role == "output" and attention:
                    seen = shape.attended_tokens(block, context)
                    gemms += _attention(shape, f"{prefix}.self_attn", tokens, seen, batch, group)
                    group += 2
            product = _weight_product(shape, weight, f"{prefix}.{weight.name}", tokens * batch, group)
            if gemms and gemms[-1].group == group and gemms[-1].m != product.m:
                group += 1  # experts beside a layer that every token passes: products of one group have equal rows
                product = replace(product, group=group)
            gemms.append(product)
    gemms.append(Gemm(HEAD, head_rows, shape.hidden, shape.vocabulary, group + 1))
    return tuple(gemms)


def _attention(shape: ModelShape, prefix: str, tokens: int, context: int, batch: int, group: int) -> tuple[Gemm, Gemm]:
    """Return the two products of one block's attention, in two groups. Query heads that share keys become further rows
    of one product.
    """
    rows, key, value = tokens * (shape.heads // shape.kv_heads), shape.head_features, shape.head_features
    count = shape.kv_heads * batch
    if shape.latent and tokens == 1:  # all heads read the latent vectors themselves
        rows, key, value, count = shape.heads, shape.latent.rank + shape.latent.rotary, shape.latent.rank, batch
    elif shape.latent:
        key, value = shape.latent.key + shape.latent.rotary, shape.latent.value
    return (
        Gemm(f"{prefix}.{SCORES}", rows, key, context, group, count, False),
        Gemm(f"{prefix}.{VALUES}", rows, context, value, group + 1, count, False),
    )


def _weight_product(shape: ModelShape, weight: BlockWeight, name: str, m: int, group: int) -> Gemm:
    """Return the product of one kind of layer. The experts that run are one product of their joint width.

    Tokens are spread evenly over the experts. The joint product has the multiply-accumulates, weights and tiles of the
    single ones; its activations are counted once instead of once for each expert.
    """
    if weight.experts == 1:
        return Gemm(name, m, weight.in_features, weight.out_features, group)
    active = min(weight.experts, m * shape.experts_per_token)
    rows = -(-m * shape.experts_per_token // active)
    if weight.role == "down":
        return Gemm(name, rows, active * weight.in_features, weight.out_features, group)
    return Gemm(name, rows, weight.in_features, active * weight.out_features, group)


def _gemms_of_layers(
    shape: ModelShape, tokens: int, context: int, batch: int, attention: bool, head_rows: int
) -> tuple[Gemm, ...]:
    """Return the products of a model whose layers are listed.

    Tokens are spread evenly over the experts. If there are fewer tokens than experts, only the first experts run.
    """
    m = tokens * batch
    families: dict[str, int] = {}
    blocks = -1
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
                blocks += 1
                read = shape.attended_tokens(min(blocks, shape.layers - 1), context)
                gemms += _attention(shape, block, tokens, read, batch, group)
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
        raise InputError(f"{name} of a workload must be at least 1, not {value}")
