"""Names beside dots that hide neither each other nor the dots."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

FONT = 10
CHARACTER = 5.8  # width of a character of this font, pixels, rather too wide than too narrow
LINE = 12.0


@dataclass(frozen=True)
class Span:
    """An axis: from a value to a pixel and back."""

    low: float
    high: float
    pixels: float
    log: bool = False

    def pixel(self, value: float) -> float:
        """Pixels from the low end."""
        low, high, at = (math.log(x) if self.log else x for x in (self.low, self.high, value))
        return (at - low) / (high - low) * self.pixels

    def value(self, pixel: float) -> float:
        """The value at so many pixels from the low end."""
        share = pixel / self.pixels
        if self.log:
            return self.low * (self.high / self.low) ** share
        return self.low + (self.high - self.low) * share


def place(
    names: Sequence[str], dots: Sequence[tuple[float, float]], width: float, height: float
) -> list[tuple[float, float]]:
    """Return for each name the left end of its text's middle line, in pixels from the top left.

    Places beside, below and above a dot are tried from the nearest on; the first that covers least is taken.
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
    """Area that a text covers of what stands already, and what of it would leave the plot."""
    left, top, right, bottom = box
    hidden = sum(
        max(0.0, min(right, c) - max(left, a)) * max(0.0, min(bottom, d) - max(top, b)) for a, b, c, d in blocks
    )
    outside = max(0.0, -left) + max(0.0, right - width) + max(0.0, -top) + max(0.0, bottom - height)
    return hidden + LINE * outside
