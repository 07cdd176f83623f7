"""Read and write partial-sum statistics as a small JSON file.

The package contains one such file, measured on the layers of the demo model.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import msgspec
import numpy as np

from haloquant.circuits.simulation.partial_sums import PartialSums
from haloquant.errors import MALFORMED, InputError
from haloquant.store.atomic_files import read_bounded, write_bytes

FORMAT = "haloquant-partial-sums-1"
DEMO_FILE = Path(__file__).resolve().parents[1] / "data" / "profiles" / "demo.partial-sums.json"
_LIMIT_BYTES = 1 << 22
_LARGEST = 1 << 53  # stimuli are drawn in float64, which holds integers exactly up to here


class _Entry(msgspec.Struct, forbid_unknown_fields=True):
    source: str
    weight_bits: int
    activation_bits: int
    quantile: list[Annotated[int, msgspec.Meta(ge=-_LARGEST, le=_LARGEST)]]
    # joint[i][j] is the chance that one sum ranks in part i and the next in part j; the default draws independently.
    joint: list[list[float]] = msgspec.field(default_factory=lambda: [[1.0]])


class _File(msgspec.Struct, forbid_unknown_fields=True):
    format: str
    sums: list[_Entry]


def write_partial_sums(sums: Sequence[PartialSums], path: Path) -> None:
    """Write statistics, one entry for each pair of bit widths; probabilities have six significant digits."""
    entries = [
        _Entry(
            each.source,
            each.weight_bits,
            each.activation_bits,
            each.quantile.tolist(),
            [[float(f"{chance:.6g}") for chance in row] for row in each.joint],
        )
        for each in sums
    ]
    text = msgspec.json.encode(_File(FORMAT, entries))
    write_bytes(path, text.replace(b'{"source"', b'\n{"source"') + b"\n")


def read_partial_sums(path: Path) -> tuple[PartialSums, ...]:
    """Read statistics.

    Raises:
        InputError: The file is missing, is too large, is not such a file, or holds impossible values.
    """
    try:
        file = msgspec.json.decode(read_bounded(path, _LIMIT_BYTES), type=_File)
        if file.format != FORMAT:
            raise InputError(f"{path} must have the format {FORMAT}, not {file.format[:60]!r}")
        return tuple(
            PartialSums(
                entry.source,
                entry.weight_bits,
                entry.activation_bits,
                np.array(entry.quantile, dtype=np.int64),
                _square(entry.joint, path),
            )
            for entry in file.sums
        )
    except MALFORMED as error:
        raise InputError(f"{path} must be a file of partial-sum statistics: {error}") from error


def _square(rows: list[list[float]], path: Path) -> np.ndarray:
    if not rows or any(len(row) != len(rows) for row in rows):
        raise InputError(f"{path} must hold as many joint chances in every row as there are rows")
    return np.array(rows, dtype=np.float64)
