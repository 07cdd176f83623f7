"""Kernels on layers small enough to see: words of codes, counts of codes in tiles, float16 at its ends."""

import numpy as np
import pytest

from haloquant.quant.rounding.numba_kernels import count_codes, lookup, to_float16

# Two rows of five weights in tiles of 1 x 3: class 0 has the words -1, 0, 2, class 1 the words 0, 5.
CODES = np.array([[0, 1, 2, 0, 1], [1, 1, 0, 2, 2]], np.uint8)
CLASSES = np.array([[0, 1], [1, 0]], np.uint8)
WORDS = np.array([[-1, 0, 2], [0, 5, 0]], np.float32)


def test_a_code_is_its_classs_word_times_the_scale_of_its_row_and_tile() -> None:
    scale = np.array([[10.0, 1.0], [0.5, -2.0]], np.float32)
    out = np.full((2, 5), np.nan, np.float32)
    lookup(CODES, scale, CLASSES, 1, 3, WORDS, out)
    assert out.tolist() == [[-10, 0, 20, 0, 5], [2.5, 2.5, 0, -4, -4]]


def test_codes_are_counted_by_tile_and_added_to_what_is_there() -> None:
    counts = np.zeros((2, 2, 3), np.int64)
    counts[0, 0, 0] = 100
    count_codes(CODES, CLASSES, 1, 3, counts)
    assert counts.tolist() == [[[101, 1, 1], [1, 1, 0]], [[1, 2, 0], [0, 0, 2]]]


@pytest.mark.parametrize("value", [0.0, 65504.0, 65519.0, 1e9, 2.0**-24, 2.0**-25, 6.1e-5, 1 / 3, 2049.0, 2051.0])
@pytest.mark.parametrize("sign", [1, -1])
def test_half_precision_rounds_as_numpy_does_and_ends_at_its_largest(value: float, sign: int) -> None:
    given = np.float32(sign * value)
    assert to_float16(given) == np.float32(np.float16(np.clip(given, -65504, 65504)))
