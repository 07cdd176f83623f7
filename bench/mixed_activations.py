"""What few bits cost for a share of the tokens: those with the lowest scores, a random share, and the highest ones.

python bench/mixed_activations.py TEXT [--model MODEL] [--share 0.5] [--low-bits 4] [--windows N] prints JSON. Each row
is evaluated on the same windows; a difference is the mean over windows of the difference of their losses in nats a
token, with its standard error. `lowest of each window` is the authors' rule by sequence: it looks at the whole window,
which no generated token can. The lower bound of every row is `8 bits`, the upper bound all tokens in low bits.
"""

import argparse
import json
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
import torch

from haloquant.jobs.evaluation import open_model
from haloquant.jobs.inputs import model_folder, read_text
from haloquant.lm.attention.token_importance import TokenClasses, find_thresholds, first_token_scores, text_windows
from haloquant.lm.evaluation.perplexity import default_window, perplexity
from haloquant.lm.evaluation.rounded_activations import activations_by_class, activations_per_token
from haloquant.records.mixed_activations import LowTokens, MixedActivations

BITS = 8


class ByWindow(TokenClasses):
    """The lowest share of the tokens of each sequence, as if the whole of it were known."""

    def see(self, query: torch.Tensor, key: torch.Tensor, mask: torch.Tensor | None, scale: float | None) -> None:
        scores = first_token_scores(query, key, mask, scale)
        count = round(self.mixed.low_share * scores.shape[1])
        self._low = torch.zeros_like(scores, dtype=torch.bool).scatter_(1, scores.argsort(1)[:, :count], True)


def measure(
    model_name: str, text: str, share: float, low_bits: int, windows: int | None, only: Sequence[str] = ()
) -> dict[str, Any]:
    """Return the perplexity of every choice of tokens, and their paired differences in nats a token."""
    folder = model_folder(model_name)
    model, layers, *_ = open_model(folder)
    tokens = read_text(folder, text, "evaluation").tokens
    sample = text_windows(read_text(folder, "demo", "calibration").tokens, default_window(model))

    def mixed(choice: LowTokens, kind: Callable[..., TokenClasses] = TokenClasses) -> AbstractContextManager[Any]:
        with activations_per_token(model, layers, BITS):
            found = find_thresholds(model, sample, share, choice)
        return activations_by_class(
            model, layers, kind(MixedActivations(BITS, low_bits, share, found, sample.size), choice)
        )

    mean = round(share * low_bits + (1 - share) * BITS)
    rows: dict[str, Callable[[], AbstractContextManager[Any]]] = {
        "8 bits": lambda: activations_per_token(model, layers, BITS),
        "random": lambda: mixed("random"),
        "lowest": lambda: mixed("lowest"),
        "highest": lambda: mixed("highest"),
        "lowest of each window": lambda: mixed("lowest", ByWindow),
        f"{low_bits} bits": lambda: activations_per_token(model, layers, low_bits),
        f"{mean} bits": lambda: activations_per_token(model, layers, mean),  # as many bytes as the shares
        "float": nullcontext,
    }
    rows = {name: context for name, context in rows.items() if name in only or not only}
    nats: dict[str, np.ndarray] = {}
    made: dict[str, Any] = {}
    for name, context in rows.items():
        with context() as counts:
            score = perplexity(model, tokens, max_windows=windows)
        nats[name] = np.array(score.window_nats)
        made[name] = {"perplexity": score.value, "predicted tokens": score.tokens_counted}
        if counts is not None and hasattr(counts, "share"):
            made[name]["share in low bits"] = float(np.mean([counts.share(layer) for layer in layers]))
        for other in ("8 bits", "random"):
            if other in nats and other != name:
                made[name][f"less {other}, nats"] = _difference(nats[name], nats[other])
        print(json.dumps({name: made[name]}), flush=True)
    return made


def _difference(ours: np.ndarray, others: np.ndarray) -> list[float]:
    gaps = ours - others
    return [float(gaps.mean()), float(gaps.std(ddof=1) / np.sqrt(len(gaps)))]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("text")
    parser.add_argument("--model", default="demo")
    parser.add_argument("--share", type=float, default=0.5)
    parser.add_argument("--low-bits", type=int, default=4)
    parser.add_argument("--windows", type=int)
    parser.add_argument("--only", nargs="*", default=[], help="rows to measure, such as `8 bits`; all by default")
    given = parser.parse_args()
    print(json.dumps(measure(given.model, given.text, given.share, given.low_bits, given.windows, given.only)))
