"""Scales as float16 stores them. Every scale is rounded to float16 before a weight is rounded with it.

A layer of very small weights is quantized at `2^exponent` times its size, and its scales are divided by that again.
"""

import math
from collections.abc import Sequence
from typing import Final

import numpy as np
from jaxtyping import Float32

LARGEST: Final = 65504.0  # the largest finite float16
SMALLEST: Final = 2.0**-24  # the smallest positive float16
# Mean magnitude of weights below which scales of a layer come near the steps of 2^-24, in which float16 ends.
SMALL_MEAN: Final = 2.0**-14
MOST_EXPONENT: Final = 100  # 2^-100 times the smallest float16 is still a normal float32
_USUAL_MEAN: Final = 2.0**-5  # an exponent brings the mean magnitude of a layer's weights to this or up to twice it


def round_scales(scale: np.ndarray) -> Float32[np.ndarray, "..."]:
    """Round scales to float16 and return them as float32.

    Magnitudes above 65504 become 65504. A scale that is not 0 but would round to 0 becomes 2^-24 with its own sign.
    """
    clipped = np.clip(scale, -LARGEST, LARGEST)
    rounded = clipped.astype(np.float16).astype(np.float32)
    return np.where((rounded == 0) & (scale != 0), np.copysign(np.float32(SMALLEST), scale), rounded).astype(np.float32)


def size_exponent(weight: Float32[np.ndarray, "out in"]) -> int:
    """Return e, so that float16 holds the scales of `weight * 2^e` to its full precision.

    It is 0 for every layer of ordinary size: with a mean magnitude of at least 2^-14. The largest weight stays below
    2^15.
    """
    if _has_usual_size(weight):
        return 0
    mean = float(np.mean(np.abs(weight), dtype=np.float64))
    if not 0 < mean < SMALL_MEAN:
        return 0
    room = 15 - math.frexp(float(np.abs(weight).max()))[1]
    return max(0, min(math.frexp(_USUAL_MEAN)[1] - math.frexp(mean)[1], room, MOST_EXPONENT))


def _has_usual_size(weight: np.ndarray) -> bool:
    """Return whether the first rows alone show that the mean magnitude is above the limit, by twice for certain."""
    enough, total = 2 * SMALL_MEAN * weight.size, 0.0
    step = max(1, (1 << 20) // max(1, weight.shape[1]))
    for low in range(0, weight.shape[0], step):
        total += float(np.sum(np.abs(weight[low : low + step]), dtype=np.float64))
        if not total < enough:
            return total >= enough
    return False


def has_small_scales(scale: np.ndarray) -> bool:
    """Return whether half of the scales that are not 0 are at most 2^-22.

    Float16 holds such a scale as one to four times 2^-24. Against scales of ordinary size, the error of the layer's
    output rises by a tenth at three times 2^-24 and doubles at one (`docs/stages/quantizer.md` has the figures).
    """
    sizes = np.abs(scale[scale != 0])
    return sizes.size > 0 and float(np.median(sizes)) <= 4 * SMALLEST


def small_scales_note(layers: Sequence[str]) -> tuple[str, ...]:
    """Return one sentence that names the layers that have small scales, or none if there are no such layers."""
    if not layers:
        return ()
    named = ", ".join(layers[:8]) + (f" and {len(layers) - 8} more" if len(layers) > 8 else "")
    return (
        f"weights are too small for float16 scales and keep little of their precision in {named}; leave a layer in "
        "full precision with --exclude where that matters",
    )
