"""Scales rounded to float16."""

import numpy as np
import pytest

from haloquant.quant.float16 import LARGEST, SMALLEST, has_small_scales, round_scales, size_exponent, small_scales_note


def test_limits_are_those_of_float16() -> None:
    assert float(np.finfo(np.float16).max) == LARGEST
    assert float(np.finfo(np.float16).smallest_subnormal) == SMALLEST


def test_scales_keep_their_sign_and_never_become_zero() -> None:
    scales = round_scales(np.array([0.0, 1e-9, -1e-9, 1e9, 1 / 3], np.float32))
    assert scales.tolist() == [0.0, SMALLEST, -SMALLEST, LARGEST, float(np.float16(1 / 3))]


@pytest.mark.parametrize("mean", [2.0**-14, 0.02, 1.0, 3e4])
def test_a_layer_of_ordinary_size_has_no_exponent(mean: float) -> None:
    assert size_exponent(np.array([[mean, -mean], [0, 2 * mean]], np.float32)) == 0
    assert size_exponent(np.zeros((2, 2), np.float32)) == 0


@pytest.mark.parametrize("size", [6e-5, 1e-7, 1e-20, 1e-30])
def test_the_exponent_brings_small_weights_to_ordinary_size(size: float) -> None:
    weight = np.full((2, 3), size, np.float32)
    assert 2.0**-5 <= weight[0, 0] * 2.0 ** size_exponent(weight) < 2.0**-4


def test_the_exponent_leaves_the_largest_weight_below_the_largest_float16() -> None:
    weight = np.full((1000, 1000), 1e-12, np.float32)
    weight[0, 0] = 20.0
    exponent = size_exponent(weight)
    assert 2**14 <= 20 * 2.0**exponent < 2**15


@pytest.mark.parametrize(
    ("units", "small"), [([4, -4, 0, 9], True), ([5, -5, 1], False), ([0, 0], False), ([], False), ([0, 0, -1], True)]
)
def test_small_scales_are_those_of_at_most_four_units(units: list[float], small: bool) -> None:
    assert has_small_scales(np.array(units, np.float32) * np.float32(SMALLEST)) == small


def test_the_note_names_layers_and_counts_those_beyond_eight() -> None:
    assert small_scales_note([]) == ()
    assert "precision in a, b; leave a layer" in small_scales_note(["a", "b"])[0]
    assert "in 0, 1, 2, 3, 4, 5, 6, 7 and 2 more; leave" in small_scales_note([str(i) for i in range(10)])[0]
