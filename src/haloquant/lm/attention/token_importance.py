"""Which tokens are rounded to fewer bits: those whose queries are least alike the key of the first token (EdgeQAT).

EdgeQAT (arXiv 2402.10787) scores a token t in each attention by the sum over heads of q_t . k_0 / sqrt(size), before
mask and softmax, where k_0 is the key of the first token of its sequence. Trained models attend to it most. The tokens
with the lowest scores get few bits from there on: in the inputs of the layers that follow, until the next attention
scores all tokens again. The layers before the first attention round all tokens alike, to the higher bits.

The authors take the lowest share of the tokens of a batch, by the mean score over its sequences. That needs the
whole sequence, and the mean mixes sequences. Here each attention has a threshold, the share's quantile of the scores in
a sample of text. So a token's class depends on the tokens before it only: it is fixed when the token is made, it is the
same in a prefill and one token at a time, and sequences of a batch do not touch each other. The share of the tokens
below a threshold is about that of the sample, and is counted while the model runs.
"""

from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Int64

from haloquant.errors import InputError
from haloquant.lm.attention.watch import watched
from haloquant.records.mixed_activations import LowTokens, MixedActivations

SAMPLE_TOKENS = 8192
FARTHEST = float(np.finfo(np.float32).max)  # beyond all scores; JSON holds no infinity


def first_token_scores(
    query: torch.Tensor, key: torch.Tensor, mask: torch.Tensor | None, scale: float | None
) -> torch.Tensor:
    """Return the score of each token: the sum over heads of its query times the key of its sequence's first token.

    Args:
        query: [batch, heads, tokens, size].
        key: [batch, key heads, keys, size].
        mask: [batch, 1, tokens, keys], of bool (True: seen) or added to the products. The first token of a sequence is
            the first that its last token sees, as padding may stand before it. None means that there is no padding.
        scale: factor of the products; None is 1 / sqrt(size).

    Returns:
        f32 [batch, tokens].
    """
    batch, heads, tokens, size = query.shape
    factor = size**-0.5 if scale is None else scale
    first = key[:, :, 0]
    if mask is not None:
        seen = mask[:, 0, -1] if mask.dtype == torch.bool else mask[:, 0, -1] > torch.finfo(mask.dtype).min / 2
        places = seen.to(torch.int8).argmax(-1).expand(batch)
        first = key[torch.arange(batch, device=key.device), :, places]
    grouped = query.float().view(batch, first.shape[1], heads // first.shape[1], tokens, size).sum(2)
    return torch.einsum("bhts,bhs->bt", grouped, first.float()) * factor


class TokenClasses:
    """The class of each token of a running model, from one attention to the next.

    It is a watcher of a model (`lm.attention.watch`).

    Args:
        mixed: thresholds and bits.
        choice: which tokens get the low bits. `random` draws each with the probability of the share.
        seed: seed of `random`.
    """

    def __init__(self, mixed: MixedActivations, choice: LowTokens = "lowest", seed: int = 0) -> None:
        self.mixed, self.choice = mixed, choice
        self._low: torch.Tensor | None = None  # [batch, tokens]
        self._number = 0  # of the next attention
        self._running = False
        self._generator = torch.Generator().manual_seed(seed)

    def begin(self) -> None:
        """Take note that the model is called: no token has a class yet."""
        self._low, self._number, self._running = None, 0, True

    def end(self) -> None:
        """Forget the classes."""
        self._low, self._running = None, False

    def see(self, query: torch.Tensor, key: torch.Tensor, mask: torch.Tensor | None, scale: float | None) -> None:
        """Give every token the class that its score in this attention says.

        Raises:
            InputError: The model has more attentions than thresholds.
        """
        known = self.mixed.thresholds
        if self._number >= len(known):
            raise InputError(f"the model must have {len(known)} attentions, one for each threshold, and has more")
        if self.choice == "random":
            drawn = torch.rand(query.shape[0], query.shape[2], generator=self._generator)
            self._low = (drawn < self.mixed.low_share).to(query.device)
        else:
            scores = first_token_scores(query.detach(), key.detach(), mask, scale)
            below = scores <= known[self._number]
            self._low = below if self.choice == "lowest" else ~below
        self._number += 1

    def low_rows(self, rows: int, layer: str) -> torch.Tensor | bool:
        """Return which rows of a layer's input belong to tokens of low bits: bool [rows], or one bool for all.

        Raises:
            InputError: The model is not running as a whole, or the rows are not its tokens.
        """
        if not self._running:
            raise InputError(f"{layer} must run within its whole model, as the model's attentions score its tokens")
        if self._low is None:  # no attention yet: a token is in low bits if all are
            return self.mixed.low_share == 1
        if self._low.numel() != rows:
            raise InputError(
                f"{layer} must get the {self._low.numel()} tokens of the model to round each by its score, not {rows}; "
                "models with experts give them in another order"
            )
        return self._low.flatten()

    def steps(self, rows: int, layer: str, device: torch.device) -> torch.Tensor:
        """Return 1 / the largest code of each row of a layer's input, f32 [rows].

        Raises:
            InputError: As `low_rows`.
        """
        low = self.low_rows(rows, layer)
        chosen = torch.full((rows,), low) if isinstance(low, bool) else low
        few, many = (1 / ((1 << (bits - 1)) - 1) for bits in (self.mixed.low_bits, self.mixed.bits))
        return torch.where(chosen.to(device), few, many).to(torch.float32)


class _Scores:
    """A watcher that keeps the scores of each attention."""

    def __init__(self) -> None:
        self.found: list[list[torch.Tensor]] = []
        self._number = 0

    def begin(self) -> None:
        self._number = 0

    def end(self) -> None:
        pass

    def see(self, query: torch.Tensor, key: torch.Tensor, mask: torch.Tensor | None, scale: float | None) -> None:
        if self._number == len(self.found):
            self.found.append([])
        self.found[self._number].append(first_token_scores(query, key, mask, scale).flatten().cpu())
        self._number += 1


def find_thresholds(
    model: object,
    windows: Int64[np.ndarray, "n t"],
    share: float,
    choice: LowTokens = "lowest",
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> tuple[float, ...]:
    """Return the threshold of each attention: the quantile of the scores of all tokens of some windows.

    Args:
        model: a loaded model. It computes as it is: with rounded inputs if they are rounded meanwhile.
        windows: windows of a calibration text.
        share: share of the tokens in low bits, 0 to 1.
        choice: `highest` gives the quantile above which this share lies.
        progress: called with windows done and of all.

    Raises:
        InputError: The model's attentions cannot be seen, or it has none.
    """
    scores = _Scores()
    with watched(model, scores), torch.inference_mode():
        for number, row in enumerate(windows):
            model(input_ids=torch.from_numpy(row[None]).to(_device(model)), use_cache=False)  # type: ignore[operator]
            progress(number + 1, len(windows))
    if not scores.found:
        raise InputError(f"the model must have attentions to have tokens scored, and {type(model).__name__} has none")
    below = 1.0 - share if choice == "highest" else share
    return tuple(_quantile(torch.cat(part).numpy(), below) for part in scores.found)


def _quantile(scores: np.ndarray, share: float) -> float:
    """Return a number that the share of the scores is below, between two of them; at the ends one beyond all numbers.

    Between two scores, the last bits of a score that is computed otherwise change no class of the sample.
    """
    count = round(share * scores.size)
    if count in (0, scores.size):
        return FARTHEST if count else -FARTHEST
    below, above = np.partition(scores, (count - 1, count))[count - 1 : count + 1].astype(np.float64)
    return float((below + above) / 2)


def _device(model: object) -> torch.device:
    return next(model.parameters()).device  # type: ignore[attr-defined]


def sample_windows(windows: Int64[np.ndarray, "n t"]) -> Int64[np.ndarray, "m t"]:
    """Return the first windows, `SAMPLE_TOKENS` tokens in all, but one window at least."""
    return windows[: max(1, SAMPLE_TOKENS // windows.shape[1])]


def text_windows(tokens: Int64[np.ndarray, " all"], window: int) -> Int64[np.ndarray, "n t"]:
    """Return the first windows of a text, `SAMPLE_TOKENS` tokens in all; a text shorter than one is one window.

    Raises:
        InputError: The text has less than two tokens.
    """
    length = min(window, len(tokens))
    if length < 2:
        raise InputError(f"thresholds of tokens must have a text of at least 2 tokens, not {len(tokens)}")
    return sample_windows(tokens[: len(tokens) // length * length].reshape(-1, length))
