"""SmoothQuant against the authors' formulas as plain loops: s = max|X|^a / max|W|^(1-a), then rounding to nearest."""

import numpy as np
import pytest

from haloquant.quant.rivals.registry import rival
from haloquant.records import LayerStatistics

OUT, IN = 5, 7


def by_loops(weight: np.ndarray, maxima: np.ndarray, bits: int, alpha: float) -> tuple[np.ndarray, np.ndarray]:
    """The rounded weight for the unscaled input, and its integers."""
    scale = [float(maxima[j]) ** alpha / max(abs(float(w)) for w in weight[:, j]) ** (1 - alpha) for j in range(IN)]
    top = 2 ** (bits - 1) - 1
    value, level = np.zeros((OUT, IN)), np.zeros((OUT, IN), int)
    for i in range(OUT):
        row = [float(weight[i, j]) * scale[j] for j in range(IN)]
        step = float(np.float16(max(abs(w) for w in row) / top))
        for j in range(IN):
            level[i, j] = round(row[j] / step)
            value[i, j] = level[i, j] * step / scale[j]
    return value, level


@pytest.mark.parametrize(("name", "bits", "alpha"), [("smoothquant-w8", 8, 0.5), ("smoothquant-w4-a85", 4, 0.85)])
def test_it_is_the_authors_formula(name: str, bits: int, alpha: float) -> None:
    rng = np.random.default_rng(0)
    weight = rng.standard_normal((OUT, IN)).astype(np.float32)
    maxima = rng.uniform(0.1, 30, IN).astype(np.float32)
    known = LayerStatistics("l", 9, input_absmax=maxima, source="test")
    made = rival(name).quantize(weight, known, layer="l")
    value, level = by_loops(weight, maxima, bits, alpha)
    assert made.weight == pytest.approx(value, rel=1e-5, abs=1e-7)
    assert made.mac_values.tolist() == level.tolist()
    assert made.bits.total == OUT * IN * bits + OUT * 16  # the scale of the inputs is in the norm before


def test_a_given_scale_takes_the_place_of_the_layers_own() -> None:
    weight = np.random.default_rng(1).standard_normal((OUT, IN)).astype(np.float32)
    ones = np.ones(IN, np.float32)
    made = rival("smoothquant-w4").quantize(weight, LayerStatistics("l", 0), layer="l", input_scale=ones)
    plain = rival("rtn-w4").quantize(weight, LayerStatistics("l", 0), layer="l")
    assert made.weight.tobytes() == plain.weight.tobytes()
