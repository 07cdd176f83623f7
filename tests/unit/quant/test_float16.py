"""Scales rounded to float16."""

import numpy as np

from haloquant.quant.float16 import LARGEST, SMALLEST, round_scales


def test_limits_are_those_of_float16() -> None:
    assert float(np.finfo(np.float16).max) == LARGEST
    assert float(np.finfo(np.float16).smallest_subnormal) == SMALLEST


def test_scales_keep_their_sign_and_never_become_zero() -> None:
    scales = round_scales(np.array([0.0, 1e-9, -1e-9, 1e9, 1 / 3], np.float32))
    assert scales.tolist() == [0.0, SMALLEST, -SMALLEST, LARGEST, float(np.float16(1 / 3))]
