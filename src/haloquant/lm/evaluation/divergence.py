"""How far the predictions of a changed model are from those of the model itself: Kullback-Leibler divergence.

The divergence of a token is sum over v of p_v (log p_v - log q_v), where p is what the model predicts in full precision
and q what it predicts when changed. It is what the change adds to the loss on text that the model itself makes. The
rise of the loss on a text has the same mean where the model fits that text, but a far larger spread: a change also
moves the probability of the one token that follows up or down by chance.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Int64

from haloquant.lm.evaluation.perplexity import (
    MAX_LOGITS,
    check_finite,
    default_window,
    logits_of,
    spread_windows,
    text_config,
)

MAX_KEPT = 1 << 26  # floats of predictions that are kept: 256 MiB


@dataclass(frozen=True)
class Predictions:
    """What a model predicts after each token but the last of some windows.

    `windows` holds their tokens [windows, tokens], `log_probability` is [windows, tokens - 1, vocabulary].
    """

    windows: Int64[np.ndarray, "w t"]
    log_probability: torch.Tensor


def predictions(
    model: Any, tokens: Int64[np.ndarray, " t"], window: int | None = None, max_windows: int | None = None
) -> Predictions:
    """Return what a causal model predicts in the full windows of a text.

    Args:
        model: A causal language model of transformers, in evaluation mode.
        tokens: The text; where it is shorter than a window, it is the only window.
        window: Tokens of a window; where None, the model's context length, at most 2048.
        max_windows: Greatest number of windows, spread evenly over the text. Fewer are taken if the predictions of so
            many would pass `MAX_KEPT`, but one at least.
    """
    length = min(window or default_window(model), len(tokens))
    count = len(tokens) // length
    room = max(1, MAX_KEPT // (length * text_config(model).vocab_size))
    chosen = spread_windows(count, min(room, count if max_windows is None else max_windows))
    windows = np.stack([tokens[i * length : (i + 1) * length] for i in chosen])
    found = [_log_probability(model, part) for part in _batches(model, windows)]
    return Predictions(windows, torch.cat(found))


def window_divergences(model: Any, known: Predictions) -> tuple[float, ...]:
    """Return the mean divergence of a model's predictions from known ones in each of their windows, in nats a token.

    Raises:
        InputError: The model gives NaN or infinity.
    """
    found: list[float] = []
    for part in _batches(model, known.windows):
        own = _log_probability(model, part)
        right = known.log_probability[len(found) : len(found) + len(part)]
        gaps = (right.exp() * (right - own)).sum(-1)
        found += gaps.double().mean(1).tolist()
    check_finite(found, str(next(model.parameters()).dtype).removeprefix("torch."))
    return tuple(found)


def _batches(model: Any, windows: np.ndarray) -> list[np.ndarray]:
    size = max(1, MAX_LOGITS // (windows.shape[1] * text_config(model).vocab_size))
    return [windows[first : first + size] for first in range(0, len(windows), size)]


def _log_probability(model: Any, windows: np.ndarray) -> torch.Tensor:
    batch = torch.from_numpy(windows).to(next(model.parameters()).device)
    with torch.inference_mode():
        return torch.log_softmax(logits_of(model, batch)[:, :-1].float(), -1)
