"""One forward pass as matrix products: prefill of some tokens, or one decode step with a context.

Softmax, normalisation, rotary embedding and the nonlinearity are left out: they run on a vector unit whose work is
small and the same for every quantization.
"""

from dataclasses import dataclass
from typing import Literal

from haloquant.accel.workload.model_shapes import ModelShape
from haloquant.errors import InputError
from haloquant.records import Gemm


@dataclass(frozen=True)
class Workload:
    """One forward pass. `tokens` is what energy per token divides by: new tokens of all sequences of the batch."""

    name: str
    phase: Literal["prefill", "decode"]
    gemms: tuple[Gemm, ...]
    tokens: int
    batch: int
    context: int  # tokens that attention looks back on, the new ones included

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
        tokens: Prompt length; attention is dense over it (causal halves are not skipped).
        batch: Prompts read together.
        attention: Whether the products of attention are counted (the paper's figures leave them out).
        head_rows: Rows of the output head; by default one per prompt, as generation needs; `tokens * batch` scores
            a text.

    Raises:
        InputError: if a number is not positive.
    """
    _positive("tokens", tokens)
    _positive("batch", batch)
    rows = batch if head_rows is None else head_rows
    _positive("head_rows", rows)
    gemms = _gemms(shape, tokens, tokens, batch, attention, rows)
    return Workload(f"{shape.name} prefill {tokens} x {batch}", "prefill", gemms, tokens * batch, batch, tokens)


def decode(shape: ModelShape, context: int, batch: int = 1, attention: bool = True) -> Workload:
    """Return the pass that makes one new token for each of `batch` sequences, with `context` tokens to look back on.

    Raises:
        InputError: if a number is not positive.
    """
    _positive("context", context)
    _positive("batch", batch)
    gemms = _gemms(shape, 1, context, batch, attention, batch)
    return Workload(f"{shape.name} decode {batch} at context {context}", "decode", gemms, batch, batch, context)


def _gemms(
    shape: ModelShape, tokens: int, context: int, batch: int, attention: bool, head_rows: int
) -> tuple[Gemm, ...]:
    m = tokens * batch
    size = shape.head_features
    q, kv = shape.heads * size, shape.kv_heads * size
    llama = shape.family == "llama"
    prefix = "model.layers" if llama else "model.decoder.layers"
    made: list[Gemm] = []
    group = 0
    shared = shape.heads // shape.kv_heads  # query heads that read the same keys run as more rows of one product
    for layer in range(shape.layers):
        attn = f"{prefix}.{layer}.self_attn"
        made += [
            Gemm(f"{attn}.q_proj", m, shape.hidden, q, group),
            Gemm(f"{attn}.k_proj", m, shape.hidden, kv, group),
            Gemm(f"{attn}.v_proj", m, shape.hidden, kv, group),
        ]
        group += 1
        if attention:
            heads = shape.kv_heads * batch
            made.append(Gemm(f"{attn}.scores", tokens * shared, size, context, group, heads, False))
            made.append(Gemm(f"{attn}.values", tokens * shared, context, size, group + 1, heads, False))
            group += 2
        made.append(Gemm(f"{attn}.{'o_proj' if llama else 'out_proj'}", m, q, shape.hidden, group))
        group += 1
        if llama:
            mlp = f"{prefix}.{layer}.mlp"
            made.append(Gemm(f"{mlp}.gate_proj", m, shape.hidden, shape.intermediate, group))
            made.append(Gemm(f"{mlp}.up_proj", m, shape.hidden, shape.intermediate, group))
            made.append(Gemm(f"{mlp}.down_proj", m, shape.intermediate, shape.hidden, group + 1))
        else:
            made.append(Gemm(f"{prefix}.{layer}.fc1", m, shape.hidden, shape.intermediate, group))
            made.append(Gemm(f"{prefix}.{layer}.fc2", m, shape.intermediate, shape.hidden, group + 1))
        group += 2
    made.append(Gemm("lm_head", head_rows, shape.hidden, shape.vocabulary, group))
    return tuple(made)


def _positive(name: str, value: int) -> None:
    if value <= 0:
        raise InputError(f"{name} of a workload must be at least 1, not {value}.")
