"""Transitions, their probabilities and the Gaussian model of partial sums."""

import numpy as np
import pytest

from haloquant.circuits.simulation.stimuli import (
    activation_stimuli,
    default_stimuli,
    gaussian_partial_sums,
    with_partial_sums,
)
from haloquant.errors import InputError
from support.near import near
from support.transitions import all_transitions, transition_index


def test_pairs_are_numbered_by_their_bits():
    before, after = all_transitions(3)
    np.testing.assert_array_equal(transition_index(before, after, 3), np.arange(64))
    assert sorted(set(before.tolist())) == list(range(-4, 4))
    assert (before[1], after[1]) == (1, 0)
    assert (before[2], after[2]) == (0, 1)


def test_of_very_many_transitions_some_are_drawn():
    drawn = activation_stimuli(16)
    assert drawn.transition.size == 65536
    assert drawn.probability.sum() == near(1)
    for bit in range(16):  # all four edges of every bit, equally often
        counts = np.bincount(drawn.transition >> (2 * bit) & 3, minlength=4)
        np.testing.assert_allclose(counts / 65536, 0.25, atol=0.01)
    with pytest.raises(InputError, match=r"distributions of transitions must be of at most 10 bits, not 12"):
        activation_stimuli(12, mine=np.ones(4**12))


def test_gaussian_partial_sums_have_the_variance_of_the_model():
    values, probability = gaussian_partial_sums(128, 32.0, 32.0, 24)
    assert probability.sum() == near(1)
    assert (probability * values).sum() == near(0, abs=1)
    expected = (32.0 * 32.0) ** 2 * np.mean(np.arange(128))
    assert (probability * values.astype(float) ** 2).sum() == near(expected, rel=0.01)


def test_partial_sums_are_drawn_from_the_histogram_and_repeatably():
    values, histogram = np.array([-3, 0, 5]), np.array([1.0, 0.0, 3.0])
    one = with_partial_sums(activation_stimuli(3), values, histogram, lanes=150, seed=5)
    two = with_partial_sums(activation_stimuli(3), values, histogram, lanes=150, seed=5)
    np.testing.assert_array_equal(one.partial_before, two.partial_before)
    assert set(one.partial_after.tolist()) == {-3, 5}
    assert one.probability.sum() == near(1)
    assert np.bincount(one.transition, minlength=64).min() >= 2


def test_the_default_is_every_pair_or_a_draw_with_partial_sums():
    assert default_stimuli(4, 0).transition.size == 256
    drawn = default_stimuli(4, 12)
    assert drawn.transition.size == 256
    assert drawn.partial_before is not None


def test_a_distribution_of_the_wrong_length_is_refused():
    with pytest.raises(InputError, match=r"seen must have 16 entries, not 3"):
        activation_stimuli(2, seen=np.ones(3))
    with pytest.raises(InputError, match=r"seen must be counts or probabilities of at least 0, not all 0"):
        activation_stimuli(2, seen=np.zeros(16))
