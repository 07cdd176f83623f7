"""Print the results of `ablation.py` as a Markdown table, and compare two of its rows.

python bench/ablation_table.py ROWS.json [--rows PATTERN ...] [--versus "OURS" "THEIRS"] ...
"""

import argparse
import json
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import numpy as np


def table(rows: dict[str, Any], patterns: list[str]) -> str:
    """Bits, and for every text perplexity, its rise with standard error, and perplexity with 8-bit activations."""
    texts = [name for name in next(iter(rows.values())) if name != "bits"]
    rounded = {text: any(row[text]["perplexity_a8"] is not None for row in rows.values()) for text in texts}
    parts = [part for text in texts for part in (text, "rise", *(["with A8"] if rounded[text] else []))]
    lines = ["| " + " | ".join(["row", "bits", *parts]) + " |", "|---" * (2 + len(parts)) + "|"]
    for name, figures in rows.items():
        if not any(fnmatch(name, pattern) for pattern in patterns):
            continue
        cells = [name, f"{figures['bits']:.2f}" if "bits" in figures else "16"]
        for text in texts:
            found = figures[text]
            rise = signed(found["rise"], found["rise_se"]) if "bits" in figures else ""
            cells += [f"{found['perplexity']:.2f}", rise]
            if rounded[text]:
                cells.append("" if found["perplexity_a8"] is None else f"{found['perplexity_a8']:.2f}")
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def signed(gap: float, error: float) -> str:
    """A difference with its standard error, and a third decimal where the error leaves it one."""
    digits = 3 if error < 0.03 else 2
    return f"{gap:+.{digits}f} ± {error:.{digits}f}"


def difference(rows: dict[str, Any], ours: str, theirs: str, text: str, suffix: str = "") -> tuple[float, float]:
    """Perplexity of one row less that of another, and its standard error from the differences window by window.

    The suffix `_a8` takes the figures with 8-bit activations, where the rows have them window by window.
    """
    gap = np.subtract(*(rows[name][text]["nll_by_window" + suffix] for name in (ours, theirs)))
    level = rows[theirs][text]["perplexity" + suffix]
    return float(level * np.expm1(gap.mean())), float(level * gap.std(ddof=1) / len(gap) ** 0.5)


def versus(rows: dict[str, Any], ours: str, theirs: str) -> str:
    """Difference of two rows in perplexity, window by window."""
    lines = []
    for text in (name for name in rows[ours] if name != "bits"):
        gap, error = difference(rows, ours, theirs, text)
        lines.append(f"{ours} less {theirs} on {text}: {gap:+.3f} ± {error:.3f}")
    return "\n".join(lines)


def main() -> None:
    """Print what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    parser.add_argument("--rows", nargs="*", default=["*"])
    parser.add_argument("--versus", nargs=2, action="append", default=[])
    asked = parser.parse_args()
    kept = json.loads(asked.file.read_text())
    print(table(kept["rows"], asked.rows))
    for pair in asked.versus:
        print(versus(kept["rows"], *pair))


if __name__ == "__main__":
    main()
