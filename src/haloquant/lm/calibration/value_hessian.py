"""The Hessian of value projections, weighted by attention: (2 / (T heads)) sum over heads h of (A_h X)^T (A_h X).

A value projection makes V = X W^T from the inputs X of all tokens. Head h returns A_h V, where A_h are its softmax
attention probabilities [queries, keys]. So an error e in a row of W changes the outputs of the heads by A_h X e^T, and
the sum over heads of |A_h X e^T|^2 is e (sum_h (A_h X)^T (A_h X)) e^T. X X^T counts each token once. A_h counts a token
as often as queries read it, and most heads of a trained model read the first token far more than others. Source: BoA
(arXiv 2406.13474). One matrix, summed over the heads, serves all rows.

Attention and values are found while the model runs, for any family: calls of
`torch.nn.functional.scaled_dot_product_attention`, and products of a matrix of probabilities with values. The value
rows of a layer are the outputs of that layer that reach such a call unchanged. They may be a whole layer (v_proj), or
some rows of a fused one (query_key_value, c_attn, kv_b_proj). Where values are changed on the way, for example by a
norm, their layer keeps X X^T.
"""

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import sqrt
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool
from torch.overrides import TorchFunctionMode

from haloquant.kernels.device_copies import to_host

NOTE = "hessian of value rows: inputs weighted by attention, mean over heads"
_RECENT = 8  # linear layers that may run between a value projection and its attention
_CHUNK = 1 << 22  # attention probabilities in memory at a time
_COMPARED = 16  # tokens by which an output of a layer is recognized among the values
_PRODUCTS = frozenset({torch.matmul, torch.bmm, torch.Tensor.matmul, torch.Tensor.bmm, torch.Tensor.__matmul__})
_ATTENTION = torch.nn.functional.scaled_dot_product_attention

Chunks = Iterator[tuple[int, torch.Tensor]]  # first key, and probabilities [rows, keys] of some queries of all heads


@dataclass
class ValueSums:
    """The sum of (A_h X)^T (A_h X) over windows and heads for one layer.

    `rows` marks the outputs that are values. `terms` counts tokens times heads.
    """

    rows: Bool[np.ndarray, " out"]
    gram: torch.Tensor  # [in, in]
    terms: int = 0


class ValueRecorder:
    """The sums of all layers that hold value rows, filled while the model runs within `watch`."""

    def __init__(self) -> None:
        self.sums: dict[str, ValueSums] = {}
        self._recent: deque[tuple[str, torch.Tensor, torch.Tensor]] = deque(maxlen=_RECENT)

    def add_output(self, layer: str, x: torch.Tensor, output: torch.Tensor) -> None:
        """Note input and output of a linear layer, in which an attention that follows may find its values."""
        self._recent.append((layer, x.detach(), output.detach()))

    def forget(self) -> None:
        """Release the noted tensors."""
        self._recent.clear()

    def add_attention(self, value: torch.Tensor, batch: int, chunks: Callable[[int], Chunks], heads: int) -> None:
        """Add one attention.

        Args:
            value: the values, [batch..., keys, size].
            batch: samples in the forward pass.
            chunks: returns the attention probabilities of a sample, piece by piece.
            heads: number of query heads of a sample.
        """
        keys = value.shape[-2]
        outputs = value.reshape(batch, -1, keys, value.shape[-1])[0].transpose(-1, -2)
        wanted = set(_fingerprints(outputs.reshape(-1, keys)))
        for layer, x, output in reversed(self._recent):
            if output.numel() != batch * keys * output.shape[-1]:
                continue
            made = _fingerprints(output.reshape(batch, keys, -1)[0].T)
            if not wanted.issubset(made):
                continue
            rows = np.array([column in wanted for column in made])
            inputs = x.reshape(batch, keys, -1).float()
            sums = self.sums.setdefault(layer, ValueSums(rows, inputs.new_zeros(inputs.shape[-1], inputs.shape[-1])))
            sums.rows = sums.rows | rows  # an attention may be called once for each part of the heads
            for sample in range(batch):
                _add(sums.gram, inputs[sample], chunks(sample))
                sums.terms += keys * heads
            return

    def hessian(self, layer: str) -> tuple[np.ndarray, Bool[np.ndarray, " out"]] | None:
        """Return the Hessian [in, in] of a layer's value rows, and which rows they are; None if it has none."""
        sums = self.sums.get(layer)
        if sums is None or not sums.terms:
            return None
        gram = (sums.gram + sums.gram.T) * (1.0 / sums.terms)
        return to_host(gram), sums.rows


class AttentionWatch(TorchFunctionMode):
    """Within the `with` block, every attention adds to a recorder. `batch` returns the samples of a forward pass."""

    def __init__(self, recorder: ValueRecorder, batch: Callable[[], int]) -> None:
        super().__init__()
        self._recorder, self._batch = recorder, batch

    def __torch_function__(
        self, func: Any, types: Sequence[Any], args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Call a function of torch; watch it if it is an attention or a product."""
        result = func(*args, **(kwargs or {}))
        if func is _ATTENTION:
            with torch.no_grad():
                self._attention(*args, **(kwargs or {}))
        elif func in _PRODUCTS and len(args) == 2:
            with torch.no_grad():
                self._product(args[0].detach(), args[1].detach())
        return result

    def _attention(
        self,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        attn_mask: torch.Tensor | None = None,
        dropout_p: float = 0.0,
        is_causal: bool = False,
        scale: float | None = None,
        enable_gqa: bool = False,
    ) -> None:
        """Add a call of scaled_dot_product_attention; the arguments are those of torch."""
        del dropout_p, enable_gqa  # calibration has no dropout; heads that share a key are seen by the shapes
        batch = self._batch()
        if query.ndim != 4 or query.shape[0] != batch or query.shape[-2] != key.shape[-2]:
            return
        factor = 1 / sqrt(query.shape[-1]) if scale is None else scale
        mask = None if attn_mask is None else attn_mask.detach().expand(*query.shape[:3], key.shape[-2])

        def chunks(sample: int) -> Chunks:
            shown = None if mask is None else mask[sample]
            return _probabilities(query[sample].detach(), key[sample].detach(), shown, is_causal, factor)

        self._recorder.add_attention(value.detach(), batch, chunks, query.shape[1])

    def _product(self, left: torch.Tensor, right: torch.Tensor) -> None:
        """Add a product of attention probabilities [..., t, t] with values [..., t, size], if it is one."""
        batch = self._batch()
        if left.ndim < 3 or right.ndim != left.ndim or left.shape[-1] != left.shape[-2] or left.shape[-1] < 2:
            return
        if right.shape[-2] != left.shape[-1] or left.shape[0] % batch or right.shape[0] % batch:
            return
        if left.min() < 0 or left.sum(-1).max() > 1 + 1e-3:
            return
        tokens = left.shape[-1]
        weights = left.reshape(batch, -1, tokens).float()

        def chunks(sample: int) -> Chunks:
            for part in weights[sample].split(max(1, _CHUNK // tokens)):
                yield 0, part

        self._recorder.add_attention(right, batch, chunks, weights.shape[1] // tokens)


def _fingerprints(rows: torch.Tensor) -> list[bytes]:
    """Return the bytes of the last tokens of each row [n, tokens], by which equal rows are found."""
    return [row.tobytes() for row in rows[:, -_COMPARED:].float().cpu().numpy()]


def _probabilities(
    query: torch.Tensor, key: torch.Tensor, mask: torch.Tensor | None, causal: bool, scale: float
) -> Chunks:
    """Yield softmax(scale q k^T + mask) of some queries of all heads at a time.

    Keys that none of these queries sees are left out.

    Args:
        query: [heads, t, size].
        key: [key heads, t, size]; their number divides that of the heads.
        mask: [heads, t, t], of bool (True: seen) or added to the scores.
        causal: whether a query sees only the keys up to its own.
        scale: factor of the scores.
    """
    heads, tokens, _ = query.shape
    if key.shape[0] != heads:
        key = key.repeat_interleave(heads // key.shape[0], dim=0)
    rows = max(1, _CHUNK // (heads * tokens))
    for low in range(0, tokens, rows):
        high = min(low + rows, tokens)
        first, last = 0, high if causal else tokens
        shown = None if mask is None else mask[:, low:high]
        if shown is not None:
            seen = (shown if shown.dtype == torch.bool else shown > torch.finfo(shown.dtype).min / 2).flatten(0, 1)
            places = seen.any(0).nonzero()
            if not places.numel():
                continue
            first, last = max(first, int(places[0])), min(last, int(places[-1]) + 1)
        scores = (query[:, low:high].float() * scale) @ key[:, first:last].float().transpose(1, 2)
        if causal:
            numbers = torch.arange(tokens, device=query.device)
            later = numbers[first:last] > numbers[low:high, None]
            scores.masked_fill_(later, -torch.inf)
        if shown is not None:
            part = shown[..., first:last]
            scores = scores.masked_fill(~part, -torch.inf) if part.dtype == torch.bool else scores + part
        yield first, scores.softmax(-1).nan_to_num_(0.0).flatten(0, 1)


def _add(gram: torch.Tensor, x: torch.Tensor, chunks: Chunks) -> None:
    """Add sum over heads of (A_h X)^T (A_h X) to `gram`; x is X, [t, in].

    Of two ways the one with fewer multiply-adds is taken: A_h X for every head, or X^T (sum_h A_h^T A_h) X.
    """
    tokens, features = x.shape
    if features * features + tokens * features / 2 < tokens * tokens / 3:
        for first, weights in chunks:
            read = weights @ x[first : first + weights.shape[1]]
            gram.addmm_(read.T, read)
        return
    together = x.new_zeros(tokens, tokens)
    for first, weights in chunks:
        part = slice(first, first + weights.shape[1])
        together[part, part] += weights.T @ weights
    gram.addmm_(x.T, together @ x)
