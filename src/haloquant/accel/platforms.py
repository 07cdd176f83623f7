"""Measured platforms: tokens per second and per joule that a device reached, and what its memory bandwidth allows.

One generated token of one sequence reads all weights once. If memory is the limit, the rate is
efficiency * bandwidth / bytes, with one efficiency for a model in all formats of a device.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from haloquant.accel.target import Status


@dataclass(frozen=True, slots=True)
class PlatformRow:
    """One model in one format on a platform.

    Attributes:
        model: name of the model.
        format: name of the format of its weights.
        read_b: bytes of weights that one generated token reads.
        tok_s: tokens per second.
        tok_per_j: tokens per joule; None where no energy was measured.
    """

    model: str
    format: str
    read_b: float
    tok_s: float
    tok_per_j: float | None = None


@dataclass(frozen=True)
class Platform:
    """A device, its peak memory bandwidth in bytes per second, and what was measured on it.

    `memory_b` is what the weights of a model may take. `reference` is the format on which the efficiency of a model is
    fitted. `source` and `status` say where the rows are from.
    """

    name: str
    device: str
    bandwidth_b_per_s: float
    memory_b: float
    reference: str
    source: str
    status: Status
    rows: tuple[PlatformRow, ...]


@dataclass(frozen=True, slots=True)
class PlatformPrediction:
    """A row beside its prediction.

    `efficiency` is the share of the peak bandwidth that the row reaches. `predicted_tok_s` follows from the
    efficiency of the model's reference row; None if the model has no reference row, or one of the two does not fit the
    memory.
    """

    row: PlatformRow
    efficiency: float
    predicted_tok_s: float | None

    @property
    def error(self) -> float | None:
        """Prediction over measurement - 1."""
        return None if self.predicted_tok_s is None else self.predicted_tok_s / self.row.tok_s - 1.0


def predict(platform: Platform) -> list[PlatformPrediction]:
    """Return every row of a platform with its prediction."""
    references = {row.model: row for row in platform.rows if row.format == platform.reference}
    found: list[PlatformPrediction] = []
    for row in platform.rows:
        known = references.get(row.model)
        predicted = None
        if known is not None and max(known.read_b, row.read_b) <= platform.memory_b:
            predicted = memory_bound_tok_s(row.read_b, known.tok_s * known.read_b)
        found.append(PlatformPrediction(row, row.tok_s * row.read_b / platform.bandwidth_b_per_s, predicted))
    return found


def memory_bound_tok_s(read_b: float, bandwidth_b_per_s: float) -> float:
    """Return the tokens per second at which the weights of one token are read at this rate."""
    return bandwidth_b_per_s / read_b


def words_per_battery(tok_per_j: float, battery_j: float, words_per_token: float) -> float:
    """Return the words that a battery's energy generates."""
    return tok_per_j * battery_j * words_per_token


def repeated_row(rows: Sequence[PlatformRow]) -> tuple[str, str] | None:
    """Return a model and format that two rows have, or None."""
    seen: set[tuple[str, str]] = set()
    for row in rows:
        if (row.model, row.format) in seen:
            return row.model, row.format
        seen.add((row.model, row.format))
    return None
