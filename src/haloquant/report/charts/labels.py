"""Place the names of dots in a chart so that they cover neither each other nor the dots."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

FONT = 10
CHARACTER = 5.8  # width of a character of this font in pixels; an upper estimate
LINE = 12.0  # height of a line of text in pixels


@dataclass(frozen=True)
class Span:
    """An axis: converts values to pixels and back."""

    low: float
    high: float
    pixels: float
    log: bool = False

    def pixel(self, value: float) -> float:
        """Return the distance of a value from the low end of the axis, in pixels."""
        low, high, at = (math.log(x) if self.log else x for x in (self.low, self.high, value))
        return (at - low) / (high - low) * self.pixels

    def value(self, pixel: float) -> float:
        """Return the value at this distance in pixels from the low end of the axis."""
        share = pixel / self.pixels
        if self.log:
            return self.low * (self.high / self.low) ** share
        return self.low + (self.high - self.low) * share


def place_labels(
    names: Sequence[str], dots: Sequence[tuple[float, float]], width: float, height: float
) -> list[tuple[float, float]]:
    """Return the position of each name: the left end of the text's middle line, in pixels from the top left corner.

    The candidates are positions beside, below and above the dot, the nearest first. The first candidate with the
    smallest covered area is taken.
    """
    blocks = [(x - 5, y - 5, x + 5, y + 5) for x, y in dots]
    found: list[tuple[float, float]] = []
    for name, (x, y) in zip(names, dots, strict=True):
        size = len(name) * CHARACTER
        spots = [(x + 8, y), (x - 8 - size, y)]
        for step in (1, 2, 3):
            for down in (LINE * step, -LINE * step):
                spots += [(x - size / 2, y + down), (x + 8, y + down), (x - 8 - size, y + down)]
        best = min(spots, key=lambda spot: _cost(_box(spot, size), blocks, width, height))
        blocks.append(_box(best, size))
        found.append(best)
    return found


def _box(spot: tuple[float, float], size: float) -> tuple[float, float, float, float]:
    return (spot[0], spot[1] - LINE / 2, spot[0] + size, spot[1] + LINE / 2)


def _cost(
    box: tuple[float, float, float, float],
    blocks: Sequence[tuple[float, float, float, float]],
    width: float,
    height: float,
) -> float:
    """Return the area of placed dots and names that the box covers, plus a penalty for the part outside the plot."""
    left, top, right, bottom = box
    hidden = sum(
        max(0.0, min(right, c) - max(left, a)) * max(0.0, min(bottom, d) - max(top, b)) for a, b, c, d in blocks
    )
    outside = max(0.0, -left) + max(0.0, right - width) + max(0.0, -top) + max(0.0, bottom - height)
    return hidden + LINE * outside
