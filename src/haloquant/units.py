"""SI prefixes. All quantities inside the package are in SI units; readers of files convert them."""

import math
from typing import Final

PICO: Final = 1e-12
NANO: Final = 1e-9
FEMTO: Final = 1e-15

_PREFIXES: Final = (
    (1e12, "T"),
    (1e9, "G"),
    (1e6, "M"),
    (1e3, "k"),
    (1.0, ""),
    (1e-3, "m"),
    (1e-6, "µ"),
    (1e-9, "n"),
    (1e-12, "p"),
    (1e-15, "f"),
    (1e-18, "a"),
)


def engineering(value: float | int, unit: str, digits: int = 3) -> str:
    """Return `value` as text with an SI prefix: `engineering(4.81e-10, "s") == "481 ps"`."""
    if value == 0.0 or value != value:
        return f"{value:g} {unit}"
    magnitude = abs(value)
    for factor, prefix in _PREFIXES:
        if magnitude >= factor * (1 - 0.5 * 10.0**-digits):
            return f"{value / factor:.{digits}g} {prefix}{unit}"
    factor, prefix = _PREFIXES[-1]
    return f"{value / factor:.{digits}g} {prefix}{unit}"


def least(value: float, digits: int = 4) -> str:
    """Return a positive `value` as text, rounded up: `least(1.23402) == "1.235"`. What is in the text suffices."""
    step = 10.0 ** (math.floor(math.log10(value)) + 1 - digits)
    return f"{math.ceil(value / step) * step:.{digits}g}"
