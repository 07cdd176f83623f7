"""Pruning to the word 0: which weights, and what compensation makes of it, against plain loops."""

import numpy as np
import pytest

from haloquant.dvfs.classes import Classes
from haloquant.errors import InputError
from haloquant.jobs.quantize.layer_rounding import RoundingSettings, round_layer
from haloquant.quant.layer import dequantize, mac_values, quantize_weight
from haloquant.quant.rounding.compensation import compensate, factorize, natural_order
from haloquant.quant.rounding.pruning import least_important
from haloquant.quant.tiles import make_grid, uniform_map
from haloquant.store.profiles import find_profile
from support.calibrated_layer import calibrated_layer
from support.quant_twins import NINE, SIXTEEN


def test_the_least_important_of_every_output_by_hand() -> None:
    weight = np.array([[1.0, -2.0, 3.0, -4.0], [4.0, 3.0, -2.0, 1.0]], np.float32)
    importance = np.array([[100.0, 1.0, 1.0, 1.0]], np.float32)  # scores 100, 4, 9, 16 and 1600, 9, 4, 1
    expected = [[False, True, True, False], [False, False, True, True]]
    assert least_important(weight, importance, 0.5).tolist() == expected
    assert not least_important(weight, importance, 0.1).any()  # 0.4 weights of an output are none
    ties = least_important(np.ones((1, 4), np.float32), np.ones((1, 4), np.float32), 0.5)
    assert ties.tolist() == [[True, True, False, False]]
    for share in (-0.1, 1.0):
        with pytest.raises(InputError, match="the share of pruned weights must be at least 0 and below 1, not "):
            least_important(weight, importance, share)


def test_compensation_with_pruned_weights_is_that_of_plain_loops() -> None:
    weight, _, known = calibrated_layer(out=6, features=24)
    assert known.hessian is not None
    levels = np.array([-0.2, -0.1, 0.0, 0.1, 0.2], np.float32)
    pruned = least_important(weight, np.diagonal(known.hessian)[None].copy(), 0.4)
    factor = factorize(known.hessian, natural_order(24, 8))
    table = np.broadcast_to(levels, (6, 1, 5))
    made = compensate(weight, factor, lambda *_: table, zero=pruned)
    unit = factor.unit.astype(np.float64)
    for row in range(6):
        values = np.zeros(24)
        for j in range(24):
            target = weight[row, j] + sum((weight[row, i] - values[i]) * unit[i, j] for i in range(j))
            values[j] = 0.0 if pruned[row, j] else levels[np.argmin(np.abs(levels - target))]
        assert made.values[row] == pytest.approx(values, abs=1e-6)
    assert (made.values[pruned] == 0).all() and (made.values[~pruned] != 0).any()


@pytest.mark.parametrize("place", [0, 1])
def test_the_pruned_share_has_the_word_zero_and_the_others_make_it_good(place: int) -> None:
    weight, x, known = calibrated_layer(out=32, features=64, tokens=400)
    classes = Classes(find_profile("default"), 0, (NINE, SIXTEEN, SIXTEEN))
    tiles = uniform_map("l", make_grid(32, 64, 16, 16), place)
    made = round_layer(
        weight, known, tiles, classes, RoundingSettings(0.01, True, 0.5, pruned_share=0.4)
    )  # refined, too
    words = mac_values(made)
    assert (words == 0).sum(axis=1).min() >= round(0.4 * 64)
    assert known.hessian is not None
    kept = np.zeros(weight.shape, bool)
    kept[made.sparse.rows, made.sparse.cols] = True
    dense = np.where(kept, np.float32(0), weight)
    pruned = least_important(dense, np.diagonal(known.hessian)[None].copy(), 0.4) & ~kept
    assert (words[pruned] == 0).all() and (dequantize(made)[pruned] == 0).all()
    # The same weights set to 0 and the rest rounded to nearest have half as much error again.
    cut = np.where(pruned, np.float32(0), weight)
    plain = quantize_weight(cut, tiles=tiles, codebooks=(NINE, SIXTEEN), statistics=known, sparse=made.sparse)
    error = {name: float((((dequantize(q) - weight) @ x.T) ** 2).sum()) for name, q in (("a", made), ("b", plain))}
    assert error["a"] < 0.75 * error["b"]


def test_without_a_hessian_the_pruned_weights_are_the_smallest() -> None:
    weight, _, _ = calibrated_layer(out=16, features=32)
    classes = Classes(find_profile("default"), 0, (NINE, SIXTEEN, SIXTEEN))
    tiles = uniform_map("l", make_grid(16, 32, 16, 16), 1)
    made = round_layer(weight, None, tiles, classes, RoundingSettings(0.0, True, pruned_share=0.5))
    smallest = np.argsort(np.abs(weight), axis=1)[:, :16]
    assert (np.take_along_axis(mac_values(made), smallest, axis=1) == 0).all()
