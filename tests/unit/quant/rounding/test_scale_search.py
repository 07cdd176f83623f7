"""Searched scales of weights that are exact multiples of words, and what importance and lopsided words do to them."""

import numpy as np
import pytest

from haloquant.quant.rounding.scale_search import search, trial_ratios
from support.near import near
from support.quant_twins import NINE, book, tile_map

ONE = np.ones((1, 32), np.float32)


@pytest.mark.parametrize("scale", [0.125, -0.125, 2.0**-12, 3.0])
def test_weights_that_are_words_times_a_scale_are_given_back(scale: float) -> None:
    """Every word occurs, so no other scale has error 0, but its negative where the words are symmetric."""
    words = np.resize(NINE.values, 32)
    weight = (words * scale).astype(np.float32)[None]
    found, codes = search(weight, ONE, tile_map((1, 32), 1, 32), (NINE,))
    assert found.item() == near(scale, rel=1e-6)
    assert (NINE.values[codes] == words).all()


def test_every_tile_and_row_has_its_own_scale_and_its_classs_words() -> None:
    three = book([-1, 0, 1])
    weight = np.concatenate([np.resize(NINE.values, (2, 16)) * 0.5, np.resize(three.values, (2, 16)) * 7.0], axis=1)
    weight = (weight * [[1.0], [4.0]]).astype(np.float32)
    found, codes = search(weight, ONE, tile_map((2, 32), 2, 16, [[0, 1]]), (NINE, three))
    np.testing.assert_allclose(np.abs(found), [[0.5, 7.0], [2.0, 28.0]], rtol=1e-6)
    assert codes[:, 16:].max() <= 2


def test_a_weight_of_great_importance_is_met_closely() -> None:
    """The words are -1, 0 and 1: the scale is the importance-weighted mean of the magnitudes."""
    weight = np.array([[1.0, 1.5]], np.float32)
    three, tiles = book([-1, 0, 1]), tile_map((1, 2), 1, 2)
    for importance, mean in (([1.0, 1.0], 1.25), ([1.0, 999.0], 1.4995), ([999.0, 1.0], 1.0005)):
        found, _ = search(weight, np.array([importance], np.float32), tiles, (three,))
        assert abs(found.item()) == near(mean, rel=1e-3)


def test_a_negative_scale_turns_a_lopsided_codebook_to_the_weights() -> None:
    """Weights that are mostly positive, words that reach further down."""
    weight = np.array([[8.0, 4.0, 2.0, -1.0]], np.float32)
    found, codes = search(weight, np.ones((1, 4), np.float32), tile_map((1, 4), 1, 4), (book([-8, -4, -2, 0, 1]),))
    assert found.item() == near(-1.0, rel=1e-3)
    assert codes.tolist() == [[0, 1, 2, 4]]


def test_a_row_of_zeros_has_the_code_of_zero() -> None:
    found, codes = search(np.zeros((1, 8), np.float32), np.ones((1, 8), np.float32), tile_map((1, 8), 1, 8), (NINE,))
    assert np.isfinite(found).all() and (NINE.values[codes] * found == 0).all()


def test_trials_of_symmetric_words_span_clipping_to_ease_in_small_steps() -> None:
    even = trial_ratios(book([-4, 0, 4]).values)
    assert (even[0], even[-1]) == (near(0.36, rel=1e-6), near(1.1, rel=1e-6))
    assert (np.diff(np.log(even)) <= np.log(1.085) + 1e-6).all() and len(even) >= 14


def test_trials_of_lopsided_words_go_on_until_the_short_side_spans_the_weights() -> None:
    """-8 ... 2 needs four times as much; one that reaches 60 times as far stops at eight times."""
    assert trial_ratios(book([-8, 0, 2]).values)[-1] == near(4.4, rel=1e-6)
    assert trial_ratios(book([-60, 0, 1]).values)[-1] == near(8.8, rel=1e-6)
    assert trial_ratios(book([0, 3]).values)[-1] == near(1.1, rel=1e-6)
