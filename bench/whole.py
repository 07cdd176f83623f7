"""Compute the rows of docs/results.md on complete texts: every token except each window's first is predicted once.

`tables.py --only whole own` runs it. Four fifths of the time are matrix products at the peak rate of one core. With the
demo model each row takes two and a half CPU minutes for each text and each kind of activation. So each figure is stored
as soon as it is computed, the most important ones come first, and a second call continues.
"""

import json
import math
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from ablation import Lab, methods

from haloquant.lm.evaluation.perplexity import Perplexity
from haloquant.records import BitCount

FLOOR = "full precision"
WHOLE = 1 << 60  # tokens asked for: more than any text has
Figures = dict[str, Any]


def by_window(score: Perplexity) -> list[float]:
    """Nats per token of every full window."""
    return [round(nats, 5) for nats in score.window_nats]


def figures(score: Perplexity, floor: list[float] | None) -> Figures:
    """Perplexity, its rise over the floor's with the standard error window by window, and how many tokens there were.

    `perplexity_all` counts the last, shorter window in, `tokens_all` its tokens.
    """
    nats = by_window(score)
    base = nats if floor is None else floor
    gap, level = np.subtract(nats, base), math.exp(float(np.mean(base)))
    full = score.full_windows
    return {
        "perplexity": round(score.value, 3),
        "rise": round(level * math.expm1(float(gap.mean())), 3),
        "rise_se": round(level * float(gap.std(ddof=1)) / len(gap) ** 0.5, 3),
        "tokens": int(score.scored[full].sum()),
        "perplexity_all": round(math.exp(float(score.nll.sum()) / int(score.scored.sum())), 3),
        "tokens_all": int(score.scored.sum()),
        "nll_by_window": nats,
    }


def complete(lab: Lab, kept: Figures, names: tuple[str, ...], rounded: tuple[str, ...], file: Path) -> None:
    """Make what is missing in `kept["rows"]`: every row without rounded activations, then those of `rounded` with them.

    A row's weights are made once and stay in memory for its other texts.
    """
    made: dict[str, Mapping[str, np.ndarray]] = {FLOOR: {}}
    rows: dict[str, Figures] = kept["rows"]
    passes = [(text, part, a8) for a8, part in ((False, names), (True, rounded)) for text in lab.texts]
    for text, part, a8 in passes:
        for name in (FLOOR, *part):
            found = rows.setdefault(name, {})
            done = found.get(text)
            if done is not None and (not a8 or done["perplexity_a8"] is not None):
                continue
            if name not in made:
                layers = methods()[name](lab)
                made[name] = {layer: result.weight for layer, result in layers.items()}
                bits = sum((result.bits for result in layers.values()), BitCount())
                found["bits"] = round(bits.per_weight, 3)
            began = time.process_time()
            score = lab.score(made[name], text, a8)
            if score.sampled:
                raise SystemExit(f"{text} must be scored whole, not in {len(score.nll)} windows")
            floor = rows[FLOOR].get(text, {})
            if a8:
                values = figures(score, floor.get("nll_by_window_a8"))
                found[text] |= {f"{key}_a8": value for key, value in values.items()}
            else:
                found[text] = figures(score, floor.get("nll_by_window")) | {"perplexity_a8": None}
            cpu = round(time.process_time() - began, 1)
            brief = {key: value for key, value in found[text].items() if not key.startswith("nll")}
            print(json.dumps({"row": name, "text": text, "a8": a8, "cpu_s": cpu} | brief), flush=True)
            file.write_text(json.dumps(kept))
