"""Perplexity by the standard protocol, with the number of tokens over which it was computed.

The text is tokenized as one string and cut into windows without overlap. A window is as long as the model's context, at
most 2048 tokens. Within a window every token but the first is predicted from those before it. Perplexity is exp of the
mean negative log-likelihood of the predicted tokens. This is the protocol of GPTQ (arXiv 2210.17323) and later papers.
They drop the last, shorter window. Here it is scored too if the whole text is, and both figures are available; a sample
is taken from the full windows only.

With `bos`, each window begins with that token instead, so that every token of the text is predicted exactly once. This
gives another figure, because the first token of each window is now counted, with little context.

With `context_share`, that share of every window, at its beginning, is context only: what is predicted from it is not
scored.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float64, Int64

from haloquant.errors import HaloquantError, InputError, first_line
from haloquant.lm.checkpoint.model_config import POSITIONS, unused_positions

STANDARD_WINDOW = 2048
MOST_NATS = 700  # float64 holds exp(709)
MAX_LOGITS = 1 << 25  # floats of logits computed at a time: 128 MiB


@dataclass(frozen=True)
class Perplexity:
    """Negative log-likelihoods (nats) of each window, and the numbers of tokens.

    `protocol` is "windows" or "windows with bos"; `sampled` is true if only some windows of the text were scored.
    `arithmetic` is the floating-point type in which the model computed. `context` is the number of tokens at the
    beginning of a whole window from which nothing that is scored is predicted.
    """

    nll: Float64[np.ndarray, " windows"]  # sum over the tokens scored in each window
    scored: Int64[np.ndarray, " windows"]
    window: int
    tokens: int  # tokens of the text
    protocol: str
    sampled: bool = False
    arithmetic: str = "float32"
    context: int = 0

    @property
    def full_windows(self) -> Int64[np.ndarray, " full"]:
        """Indices of the windows of the greatest length; only the last window may be shorter."""
        return np.flatnonzero(self.scored == self.scored.max())

    @property
    def value(self) -> float:
        """Perplexity over the full windows: the figure that papers give."""
        return math.exp(self.mean_nats)

    @property
    def mean_nats(self) -> float:
        """Mean negative log-likelihood over the full windows, nats per token."""
        full = self.full_windows
        return float(self.nll[full].sum()) / int(self.scored[full].sum())

    @property
    def window_nats(self) -> tuple[float, ...]:
        """Mean negative log-likelihood of each full window, nats per token."""
        full = self.full_windows
        return tuple((self.nll[full] / self.scored[full]).tolist())

    @property
    def tokens_counted(self) -> int:
        """Number of predicted tokens over which `value` is computed: those of the full windows."""
        return int(self.scored[self.full_windows].sum())

    @property
    def standard_error(self) -> float:
        """Standard error of `value` from the spread between windows (delta method); NaN with a single window."""
        means = self.nll[self.full_windows] / self.scored.max()
        return self.value * float(means.std(ddof=1)) / math.sqrt(len(means)) if len(means) > 1 else math.nan

    def describe(self) -> str:
        """Return one line that says over which tokens `value` was computed, and in which arithmetic."""
        count = len(self.full_windows)
        part = "a sample of " if self.sampled else ""
        windows = f"{count} windows of {self.window}" if count > 1 else f"one window of {self.window}"
        if int(self.scored.max()) + 1 + self.context < self.window:  # then this window is the only one
            part, windows = "", f"one window of {self.tokens}, as the text is shorter than {self.window}"
        step = self.window - (self.protocol == "windows with bos")
        rest = ", without the shorter rest at its end" if not self.sampled and 0 < count * step < self.tokens else ""
        context = f", the first {self.context} of each window as context only" if self.context else ""
        return (
            f"{self.tokens_counted} tokens predicted in {part}{windows} ({self.protocol}) of a text of {self.tokens} "
            f"tokens{rest}{context}, computed in {self.arithmetic}"
        )


def text_config(model: Any) -> Any:
    """Return the configuration of a model's decoder of text; a model of text and images has several."""
    inner = getattr(model.config, "get_text_config", None)
    return model.config if inner is None else inner(decoder=True)


def default_window(model: Any) -> int:
    """Return the model's context length in tokens, at most 2048."""
    config = text_config(model)
    length = next((found for name in POSITIONS if (found := getattr(config, name, None))), STANDARD_WINDOW)
    length -= unused_positions(getattr(config, "model_type", None), getattr(config, "pad_token_id", None))
    return min(length, STANDARD_WINDOW)


def perplexity(
    model: Any,
    tokens: Int64[np.ndarray, " t"],
    window: int | None = None,
    bos: int | None = None,
    max_windows: int | None = None,
    progress: Callable[[int, int], None] | None = None,
    context_share: float = 0.0,
) -> Perplexity:
    """Compute the perplexity of a causal model on a tokenized text.

    Args:
        model: a causal language model of transformers, in evaluation mode.
        tokens: the whole text.
        window: tokens per window, including `bos`; where None, the model's context length, at most 2048.
        bos: token that begins each window; then every token of the text is predicted. None adds no token.
        max_windows: greatest number of windows. If the text has more full windows, that many of them are taken, spread
            evenly over the text, and the result is marked as a sample.
        progress: called with the number of windows done and of all windows.
        context_share: share of every window, at its beginning, that is context only; below 1. At least one token of a
            window is scored.

    Raises:
        InputError: The text is shorter than two tokens, a token is outside the vocabulary, or the window is too short;
            or the model gives NaN or infinity.
    """
    window = default_window(model) if window is None else window
    if window < 2:
        raise InputError(f"the window must be at least 2 tokens, not {window}")
    if len(tokens) < 2:
        raise InputError(f"the text must have at least 2 tokens, not {len(tokens)}")
    vocabulary = text_config(model).vocab_size
    if int(tokens.min()) < 0 or int(tokens.max()) >= vocabulary:
        raise InputError(
            f"the tokens must be below the model's vocabulary of {vocabulary}, not {int(tokens.max())}: "
            "the tokenizer belongs to another model"
        )
    pieces = _cut(tokens, window, bos)
    chosen = _sample(pieces, max_windows)
    arithmetic = str(next(model.parameters()).dtype).removeprefix("torch.")
    at_once = max(1, MAX_LOGITS // (window * vocabulary))
    nll, scored = [], []
    for first in range(0, len(chosen), at_once):
        batch = [pieces[i] for i in chosen[first : first + at_once]]
        for group in _equal_lengths(batch):
            context = context_tokens(len(group[0]), context_share)
            nll.extend(_score(model, np.stack(group), context))
            scored.extend(len(piece) - 1 - context for piece in group)
        if progress is not None:
            progress(min(first + at_once, len(chosen)), len(chosen))
    check_finite(nll, arithmetic)
    found = Perplexity(
        np.asarray(nll, np.float64),
        np.asarray(scored, np.int64),
        window,
        len(tokens),
        "windows" if bos is None else "windows with bos",
        sampled=len(chosen) < sum(len(piece) == len(pieces[0]) for piece in pieces),
        arithmetic=arithmetic,
        context=context_tokens(len(pieces[chosen[0]]), context_share),
    )
    if found.mean_nats > MOST_NATS:
        raise InputError(
            f"the model must predict tokens with a mean loss of at most {MOST_NATS} nats, and its loss is "
            f"{found.mean_nats:.4g}: no number holds its perplexity; a weight is damaged"
        )
    return found


def _cut(tokens: np.ndarray, window: int, bos: int | None) -> list[np.ndarray]:
    step = window if bos is None else window - 1
    pieces = [tokens[i : i + step] for i in range(0, len(tokens), step)]
    if bos is not None:
        return [np.concatenate([[bos], piece]) for piece in pieces]
    return [piece for piece in pieces if len(piece) > 1]  # a single token at the end predicts nothing


def _sample(pieces: list[np.ndarray], limit: int | None) -> list[int]:
    """Return the indices of the windows to score: all, or a number of full windows."""
    if limit is None or limit >= len(pieces):
        return list(range(len(pieces)))
    if limit < 1:
        raise InputError(f"the number of windows must be at least 1, not {limit}")
    return spread_windows(sum(len(piece) == len(pieces[0]) for piece in pieces), limit)


def spread_windows(count: int, limit: int) -> list[int]:
    """Return the indices of at most `limit` of `count` windows, evenly spread, the first and the last among them."""
    return np.linspace(0, count - 1, min(limit, count)).round().astype(int).tolist()


def whole_windows(
    tokens: Int64[np.ndarray, " t"], window: int, limit: int, what: str, name: str
) -> Int64[np.ndarray, "n window"]:
    """Return the whole windows of a text; of a sample, some that are spread over the text.

    Args:
        tokens: the whole text.
        window: tokens of a window.
        limit: tokens of a sample, of which one window at least is taken; 0 takes the whole text.
        what: what the text is for, in the error.
        name: its name in the error.

    Raises:
        InputError: The text is shorter than one window.
    """
    full = len(tokens) // window
    if not full:
        raise InputError(
            f"{what} must have at least {window} tokens, one window, but {name} has {len(tokens)}; give a longer text"
        )
    count = min(full, max(1, limit // window)) if limit else full
    return tokens[: full * window].reshape(full, window)[spread_windows(full, count)]


def check_finite(nll: list[float], arithmetic: str) -> None:
    """Refuse sums of windows that are no numbers; `arithmetic` is the floating-point type in which they were computed.

    Raises:
        InputError: One is NaN or infinite.
    """
    bad = sum(not math.isfinite(value) for value in nll)
    if not bad:
        return
    advice = {
        "float16": "its values pass 65504, the largest of float16; evaluate it in float32",
        "bfloat16": "evaluate it in float32",
    }.get(arithmetic, "a weight is damaged, or its values pass the range of float32")
    raise InputError(
        f"the model must predict every token with a probability, and computed in {arithmetic} it gives NaN or infinity "
        f"in {bad} of {len(nll)} windows: {advice}"
    )


def _equal_lengths(batch: list[np.ndarray]) -> list[list[np.ndarray]]:
    last = batch[-1]
    if len(last) == len(batch[0]):
        return [batch]
    return [batch[:-1], [last]]


def context_tokens(window: int, share: float) -> int:
    """Return how many tokens of a window are context only: the share, rounded down, so that one token is scored."""
    return min(int(share * window), window - 2)


def _score(model: Any, ids: np.ndarray, context: int = 0) -> list[float]:
    batch = torch.from_numpy(ids).to(next(model.parameters()).device)
    with torch.inference_mode():
        return sum_nll(logits_of(model, batch)[:, context:], batch[:, context:])


def logits_of(model: Any, batch: torch.Tensor) -> torch.Tensor:
    """Return the logits of a batch.

    Raises:
        InputError: The code of the model raises an error, as it does where values of its config.json do not fit.
    """
    try:
        return model(input_ids=batch, use_cache=False).logits
    except (HaloquantError, MemoryError):
        raise
    except Exception as error:
        raise InputError(
            f"the model ({type(model).__name__}) must compute the logits of its tokens in transformers, but: "
            f"{first_line(error)}; is config.json that of these tensors?"
        ) from error


def sum_nll(logits: torch.Tensor, ids: torch.Tensor) -> list[float]:
    """Return, for each row of `ids` [b, t], the sum of negative log-likelihoods (nats) of all tokens but the first."""
    shifted = logits[:, :-1].float().flatten(0, 1)
    nll = torch.nn.functional.cross_entropy(shifted, ids[:, 1:].flatten(), reduction="none")
    return nll.reshape(len(ids), -1).double().sum(1).tolist()
