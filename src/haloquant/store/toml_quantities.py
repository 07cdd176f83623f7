"""Read numbers with a unit, a status and a source from TOML tables, and convert them to SI units.

No other module converts units of TOML files.
"""

import math
from collections.abc import Mapping
from typing import Final, get_args

from haloquant.accel.target import Figure, Status
from haloquant.errors import TargetError

_SCALE: Final = {
    "T": 1e12,
    "G": 1e9,
    "M": 1e6,
    "k": 1e3,
    "": 1.0,
    "m": 1e-3,
    "u": 1e-6,
    "n": 1e-9,
    "p": 1e-12,
    "f": 1e-15,
}
_BYTES: Final = {"TB": 1e12, "GB": 1e9, "MB": 1e6, "kB": 1e3, "B": 1.0, "GiB": 2.0**30, "MiB": 2.0**20, "KiB": 2.0**10}


def _units() -> dict[str, Mapping[str, float]]:
    """Return for each SI unit the spellings that a file may use, each with its factor to the SI unit."""
    return {
        "1": {"1": 1.0, "%": 0.01},
        "V": {"V": 1.0, "mV": 1e-3},
        "s": {p + "s": f for p, f in _SCALE.items() if f <= 1},
        "Hz": {p + "Hz": f for p, f in _SCALE.items() if f >= 1},
        "J": {p + "J": f for p, f in _SCALE.items() if f <= 1},
        "W": {p + "W": f for p, f in _SCALE.items()},
        "B": _BYTES,
        "B/s": {f"{unit}/s": factor for unit, factor in _BYTES.items()},
        "J/bit": {f"{p}J/bit": f for p, f in _SCALE.items() if f <= 1},
        "mac/s": {f"{p}mac/s": f for p, f in _SCALE.items() if f >= 1},
    }


UNITS: Final = _units()
UNBOUNDED: Final = ("B", "B/s")  # quantities that may be infinite, as in an idealised machine
# Least and most of a quantity that is not 0, in its SI unit: more than machines have, and far from where squares and
# quotients leave the range of a float.
LIMITS: Final[Mapping[str, tuple[float, float]]] = {
    "1": (1e-6, 1e9),
    "V": (0.01, 100.0),
    "s": (1e-18, 3600.0),
    "Hz": (1.0, 1e13),
    "J": (1e-24, 1e3),
    "W": (1e-12, 1e9),
    "B": (1.0, 1e18),
    "B/s": (1.0, 1e18),
    "J/bit": (1e-24, 1e-3),
    "mac/s": (1.0, 1e21),
}


def parse_quantity(raw: object, unit: str, path: str, lowest: float = 0.0, open_below: bool = False) -> Figure:
    """Return one number, converted to its SI unit.

    Args:
        raw: A table with exactly the keys value, unit, status and source.
        unit: The SI unit of the result.
        path: The path of the key in the file, for error messages.
        lowest: The smallest allowed value, in the SI unit.
        open_below: True if `lowest` itself is refused.

    Raises:
        TargetError: The table is not as described; the message names `path` and the fault.
    """
    if not isinstance(raw, Mapping):
        raise TargetError(f"{path} must be a table with value, unit, status and source, not {raw!r}")
    table: dict[str, object] = {str(key): value for key, value in raw.items()}  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
    for key in table:
        if key not in ("value", "unit", "status", "source"):
            raise TargetError(f"{path}.{key} is not known; a number has value, unit, status and source")
    for key in ("value", "unit", "status", "source"):
        if key not in table:
            raise TargetError(f"{path}.{key} is missing; a number has value, unit, status and source")
    value, given, status, source = table["value"], table["unit"], table["status"], table["source"]
    if isinstance(value, bool) or not isinstance(value, int | float) or value != value:
        raise TargetError(f"{path}.value must be a number, not {value!r}")
    if not isinstance(given, str) or given not in UNITS[unit]:
        raise TargetError(f"{path}.unit must be one of {', '.join(UNITS[unit])}, not {given!r}")
    if status not in get_args(Status):
        raise TargetError(f"{path}.status must be measured, cited or assumed, not {status!r}")
    if not isinstance(source, str) or not source.strip():
        raise TargetError(f"{path}.source must say where the number comes from, not {source!r}")
    try:
        si = float(value) * UNITS[unit][given]
    except OverflowError:  # an integer of more than 308 digits
        si = math.inf
    if math.isinf(si) and unit not in UNBOUNDED:
        raise TargetError(f"{path}.value must be finite; only sizes and bandwidths may be without bound")
    if si < lowest or (open_below and si == lowest):
        word = "above" if open_below else "at least"
        least, found = (f"{lowest:g}", f"{value}") if unit == "1" else (f"{lowest:g} {unit}", f"{value} {given}")
        raise TargetError(f"{path}.value must be {word} {least}, not {found}")
    smallest, largest = LIMITS[unit]
    if si and not math.isinf(si) and lowest < smallest and not smallest <= si <= largest:
        zero = "" if open_below else "0 or "
        limits, found = (f"{smallest:g} to {largest:g}", f"{value:g}")
        if unit != "1":
            limits, found = f"{limits} {unit}", f"{found} {given}"
        raise TargetError(f"{path}.value must be {zero}{limits}, not {found}")
    known: Status = "measured" if status == "measured" else "cited" if status == "cited" else "assumed"
    return Figure(si, unit, source, known)
