"""Scales as float16 stores them. Every scale is rounded to float16 before a weight is rounded with it."""

from typing import Final

import numpy as np
from jaxtyping import Float32

LARGEST: Final = 65504.0  # the largest finite float16
SMALLEST: Final = 2.0**-24  # the smallest positive float16


def round_scales(scale: np.ndarray) -> Float32[np.ndarray, "..."]:
    """Round scales to float16 and return them as float32.

    Magnitudes above 65504 become 65504. A scale that is not 0 but would round to 0 becomes 2^-24 with its own sign.
    """
    clipped = np.clip(scale, -LARGEST, LARGEST)
    rounded = clipped.astype(np.float16).astype(np.float32)
    return np.where((rounded == 0) & (scale != 0), np.copysign(np.float32(SMALLEST), scale), rounded).astype(np.float32)
