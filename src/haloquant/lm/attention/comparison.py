"""How far quantized weights changed what a model attends to, attention by attention (EdgeQAT's diagnostics).

A head's map holds the softmax of its products of queries and keys: which tokens a token reads. The cosine of the maps
of two models, flattened, is 1 where they are equal. The spread of an attention is the sum over heads of
log(1 + variance) of its queries and of its keys: rounding that lowers it takes information away. EdgeQAT
(arXiv 2402.10787) trains with both; here they only say which attention the weights' rounding changed most.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float32, Int64

from haloquant.lm.attention.watch import watched

MOST_TOKENS = 256  # of a window: the queries and keys of a whole model are kept


@dataclass(frozen=True)
class AttentionChange:
    """One attention of a full-precision model and of its quantized form, as the mean over windows.

    Attributes:
        number: its place among the attentions of the model as they run; the first is 1.
        cosines: the cosine of both maps, head by head.
        spread: sum of log(1 + variance) over the queries' and keys' heads, in full precision.
        quantized_spread: the same of the quantized model.
    """

    number: int
    cosines: tuple[float, ...]
    spread: float
    quantized_spread: float

    @property
    def cosine(self) -> float:
        """The mean cosine over heads."""
        return sum(self.cosines) / len(self.cosines)


class _Operands:
    """A watcher that keeps queries, keys, mask and scale of every attention of a call."""

    def __init__(self) -> None:
        self.found: list[tuple[torch.Tensor, torch.Tensor, torch.Tensor | None, float | None]] = []

    def begin(self) -> None:
        self.found = []

    def end(self) -> None:
        pass

    def see(self, query: torch.Tensor, key: torch.Tensor, mask: torch.Tensor | None, scale: float | None) -> None:
        self.found.append((query.float(), key.float(), mask, scale))


def compare_attention(
    full: Any,
    quantized: Any,
    windows: Int64[np.ndarray, "n t"],
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> tuple[AttentionChange, ...]:
    """Return what changed in each attention of a model.

    Args:
        full: the loaded model in full precision.
        quantized: the same with quantized weights.
        windows: windows of a text; of longer ones the first `MOST_TOKENS` tokens are taken.
        progress: called with windows done and of all.

    Raises:
        InputError: The attentions of a model cannot be seen.
    """
    cosines: list[list[np.ndarray]] = []
    spreads: list[list[tuple[float, float]]] = []
    seen = _Operands(), _Operands()
    with watched(full, seen[0]), watched(quantized, seen[1]), torch.inference_mode():
        for done, row in enumerate(windows[:, :MOST_TOKENS]):
            for model in (full, quantized):
                ids = torch.from_numpy(row[None]).to(next(model.parameters()).device)
                model(input_ids=ids, use_cache=False)
            for number, (ours, others) in enumerate(zip(seen[0].found, seen[1].found, strict=True)):
                if number == len(cosines):
                    cosines.append([])
                    spreads.append([])
                cosines[number].append(_cosines(attention_maps(*ours), attention_maps(*others)))
                spreads[number].append((_spread(*ours[:2]), _spread(*others[:2])))
            progress(done + 1, len(windows))
    return tuple(
        AttentionChange(number + 1, tuple(np.mean(heads, axis=0).tolist()), *np.mean(pairs, axis=0).tolist())
        for number, (heads, pairs) in enumerate(zip(cosines, spreads, strict=True))
    )


def attention_maps(
    query: torch.Tensor, key: torch.Tensor, mask: torch.Tensor | None, scale: float | None
) -> Float32[torch.Tensor, "heads t t"]:
    """Return the softmax of scale q k^T of every head of one sequence; a query sees the keys up to its own.

    Args:
        query: f32 [1, heads, t, size].
        key: f32 [1, key heads, t, size].
        mask: [1, 1, t, t], of bool (True: seen) or added to the products; None is causal.
        scale: factor of the products; None is 1 / sqrt(size).
    """
    heads, tokens, size = query.shape[1:]
    products = query[0] @ key[0].repeat_interleave(heads // key.shape[1], 0).transpose(1, 2)
    products = products * (size**-0.5 if scale is None else scale)
    if mask is None:
        mask = torch.ones(1, 1, tokens, tokens, dtype=torch.bool, device=query.device).tril()
    part = mask[0]
    shown = products.masked_fill(~part, -torch.inf) if part.dtype == torch.bool else products + part.float()
    return shown.softmax(-1)


def _cosines(ours: torch.Tensor, others: torch.Tensor) -> np.ndarray:
    """Return the cosine of the flattened maps of each head, [heads]."""
    found = torch.nn.functional.cosine_similarity(ours.flatten(1).double(), others.flatten(1).double(), dim=1)
    return found.cpu().numpy()


def _spread(query: torch.Tensor, key: torch.Tensor) -> float:
    """Return the sum over heads of log(1 + variance over tokens and size) of queries and keys."""
    return sum(float(torch.log1p(part[0].flatten(1).double().var(1, correction=0)).sum()) for part in (query, key))
