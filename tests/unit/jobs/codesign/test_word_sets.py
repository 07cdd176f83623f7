"""Sets of words: the named ones that some element holds, and those chosen for weights."""

import pytest

from haloquant.errors import InputError
from haloquant.jobs.codesign.word_sets import NAMED, check_held, word_sets
from haloquant.quant.codebook import gaussian_sample
from support.whole_elements import made_of

POWERS = made_of([-8, -4, -2, -1, 0, 1, 2, 4, 8], 15e-12, 5)
FOUR = made_of(list(range(-8, 8)), 25e-12, 4)
SAMPLE = gaussian_sample(16)


def test_only_sets_that_an_element_holds() -> None:
    found = {each.words: each.name for each in word_sets([POWERS], SAMPLE, sizes=(8,))}
    assert NAMED["powers of two, 9"] in found and NAMED["powers of two, 8"] in found
    assert NAMED["INT4"] not in found and all(set(words) <= set(POWERS.weights.tolist()) for words in found)
    both = {each.name for each in word_sets([POWERS, FOUR], SAMPLE, [(-5, 0, 5)], sizes=(9,))}
    assert {"INT4", "INT3", "given 3", "chosen 9 of 16"} <= both and "E2M1" not in both


def test_words_that_no_element_holds_are_refused() -> None:
    check_held((-8, 0, 8), [FOUR, POWERS])
    with pytest.raises(InputError, match=r"must be held by one element; of16 comes nearest and lacks 9; characterize"):
        check_held((-3, 0, 3, 9), [POWERS, FOUR])
