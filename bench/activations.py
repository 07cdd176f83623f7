"""Accuracy cost of 8-bit activations: one scale per token, computed at run time, or one per layer from calibration."""

import json
from pathlib import Path

from ablation import Lab, methods
from ablation_table import difference, signed
from whole import FLOOR, Figures, figures

from haloquant.lm.evaluation.perplexity import default_window, perplexity
from haloquant.lm.evaluation.rounded_activations import activations_per_tensor
from haloquant.lm.swap_weights import with_weights
from haloquant.records import BitCount

KINDS = ("W only", "A8 per token", "A8 static per tensor")


def complete(lab: Lab, kept: Figures, names: tuple[str, ...], file: Path) -> None:
    """Make the rows that are missing in `kept["rows"]`: every kind of activation on the lab's one text."""
    (text,) = lab.texts
    windows = max(1, lab.tokens // default_window(lab.model))
    for name in (FLOOR, *names):
        if name in kept["rows"]:
            continue
        made = {} if name == FLOOR else methods()[name](lab)
        weights = {layer: result.weight for layer, result in made.items()}
        scores = [lab.score(weights, text, rounded) for rounded in (False, True)]
        with with_weights(lab.model, weights), activations_per_tensor(lab.model, lab.known):
            scores.append(perplexity(lab.model, lab.evaluation[text], max_windows=windows))
        row: Figures = {kind: figures(score, None) for kind, score in zip(KINDS, scores, strict=True)}
        if made:
            row["bits"] = round(sum((result.bits for result in made.values()), BitCount()).per_weight, 3)
        kept["rows"][name] = row
        print(json.dumps({"row": name} | {kind: row[kind]["perplexity"] for kind in KINDS}), flush=True)
        file.write_text(json.dumps(kept))


def table(rows: Figures) -> str:
    """Perplexity by kind of activation, and what each costs over weights only, with its standard error."""
    lines = [
        "| row | bits | W only | A8 per token | less W only | A8 static per tensor | less W only |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, row in rows.items():
        cells = [name, f"{row['bits']:.2f}" if "bits" in row else "16", f"{row[KINDS[0]]['perplexity']:.2f}"]
        for kind in KINDS[1:]:
            gap, error = difference({"a8": {"": row[kind]}, "w": {"": row[KINDS[0]]}}, "a8", "w", "")
            cells += [f"{row[kind]['perplexity']:.2f}", signed(gap, error)]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)
