"""Read the published figures of the HALO paper that come with the package: bars, perplexities, statements, the MAC.

The files are CSV with comment lines (#) that name the source. Every number of the paper that the product or a test uses
stands in one of them, or in the description of a machine (`data/targets`), once.
"""

import csv
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources

MODELS = ("llama2-7b", "llama2-13b", "opt-1.3b", "opt-2.7b", "opt-6.7b", "opt-13b", "opt-30b")


@dataclass(frozen=True, slots=True)
class Bar:
    """One ratio of two bars of a figure, such as the time of W8A8 over that of bal for one model."""

    figure: int
    quantity: str
    system: str
    model: str
    value: float


@dataclass(frozen=True)
class PerplexityRow:
    """One row of table 2. `bits` and `perplexity` are by model; a perplexity is NaN where the table prints nan.

    `tile` is 0 for methods without tiles. A model that the row lacks is absent from `perplexity`.
    """

    text: str
    method: str
    tile: int
    bits: Mapping[str, float]
    perplexity: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Statement:
    """One number of the paper's text, with its place and what it says in our words."""

    name: str
    where: str
    text: str
    value: float
    unit: str


@dataclass(frozen=True, slots=True)
class PublishedValue:
    """Highest clock in Hz and power in W of one weight value of the paper's MAC (its figures 4 and 5)."""

    weight: int
    frequency_hz: float
    power_w: float


@cache
def read_bars() -> tuple[Bar, ...]:
    """Return the bars of figures 8 and 10 to 13, in the order of the file."""
    return tuple(
        Bar(int(row["figure"]), row["quantity"], row["system"], model, float(row[model]))
        for row in _rows("figures_bars.csv")
        for model in MODELS
        if row[model]
    )


@cache
def read_perplexities() -> tuple[PerplexityRow, ...]:
    """Return the rows of table 2."""
    found: list[PerplexityRow] = []
    for row in _rows("table2_perplexity.csv"):
        printed = [model for model in MODELS if model in row]
        bits = [float(part) for part in row["weight_bits"].split("/")]
        by_model = dict(zip(printed, bits if len(bits) > 1 else bits * len(printed), strict=True))
        values = {model: float(row[model]) for model in printed if row[model]}
        found.append(PerplexityRow(row["text"], row["method"], int(row["tile"] or 0), by_model, values))
    return tuple(found)


@cache
def read_statements() -> Mapping[str, Statement]:
    """Return the numbers of the text by name."""
    return {
        row["name"]: Statement(row["name"], row["where"], row["statement"], float(row["value"]), row["unit"])
        for row in _rows("statements.csv")
    }


@cache
def read_mac() -> tuple[PublishedValue, ...]:
    """Return clock and power of every weight value, ascending."""
    return tuple(
        PublishedValue(int(row["weight"]), float(row["frequency_ghz"]) * 1e9, float(row["power_uw"]) * 1e-6)
        for row in _rows("mac_by_value.csv")
    )


def effective_bits(goal: str, tile: int) -> Mapping[str, float]:
    """Return the published effective bits of a variant by model, for the four models of table 2.

    Args:
        goal: perf-opt, acc-opt or bal.
        tile: 128, 64 or 32.

    Raises:
        KeyError: Table 2 has no such row.
    """
    for row in read_perplexities():
        if row.method == f"halo {goal}" and row.tile == tile:
            return row.bits
    raise KeyError(f"halo {goal}, tile {tile}")


def rise(row: PerplexityRow) -> dict[str, float]:
    """Return by model how far a row of table 2 lies above full precision on the same text."""
    full = next(item for item in read_perplexities() if item.text == row.text and item.method == "fp16")
    found = {model: value - full.perplexity[model] for model, value in row.perplexity.items()}
    return {model: value for model, value in found.items() if not math.isnan(value)}


def _rows(name: str) -> Iterator[dict[str, str]]:
    """Yield the rows of one CSV file by column, without its comment lines."""
    text = (resources.files("haloquant") / "data" / "paper" / name).read_text(encoding="utf-8")
    yield from csv.DictReader(line for line in text.splitlines() if not line.startswith("#"))
