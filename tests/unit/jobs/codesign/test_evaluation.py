"""When a set of words counts as less accurate than another, and the profile of a set of words."""

import pytest

from haloquant.errors import ProfileError
from haloquant.jobs.codesign.evaluation import Evaluated, words_profile
from haloquant.jobs.codesign.word_sets import WordSet
from haloquant.jobs.compare.accuracy import Accuracy
from support.near import near
from support.whole_elements import made_of


def of(*windows: float) -> Evaluated:
    return Evaluated(0.0, Accuracy(1.0, 1.0, 10, "", window_divergence=windows))


def test_worse_by_two_standard_errors_of_the_difference() -> None:
    """Differences 1, 2 and 3 have the mean 2 and the error 1 / sqrt(3); those of -1, 2 and 3 have 4/3 and 1.2."""
    base = of(10.0, 20.0, 30.0)
    assert base.divergence_nats == near(20.0)
    assert of(11.0, 22.0, 33.0).worse_than(base) and not base.worse_than(of(11.0, 22.0, 33.0))
    assert not of(9.0, 22.0, 33.0).worse_than(base)
    assert not base.worse_than(base)


def test_one_window_is_compared_by_itself() -> None:
    assert of(2.0).worse_than(of(1.0)) and not of(1.0).worse_than(of(1.0))


def test_a_profile_of_words_has_their_rows() -> None:
    whole = made_of([-4, -2, 0, 2, 4, 6], 15e-12, 4)
    found = words_profile(whole, WordSet((-4, 0, 6), "three"))
    assert found.weights.tolist() == [-4, 0, 6]
    assert found.energy_j[0].tolist() == whole.energy_j[0, [0, 2, 5]].tolist()


def test_words_that_a_profile_lacks_are_refused() -> None:
    with pytest.raises(ProfileError, match=r"^the words of a design must be among the 6 of .*, not 1, 3, 5$"):
        words_profile(made_of([-4, -2, 0, 2, 4, 6], 15e-12, 4), WordSet((1, 3, 5), "odd"))
