"""Classes of a MAC: the base class, their order, and profiles that allow none."""

from dataclasses import replace

import numpy as np
import pytest

from haloquant.dvfs.classes import choose_classes, classes_at_clocks, fastest_classes
from haloquant.dvfs.operating_points import slowest_delay_s
from haloquant.errors import InfeasibleError, InputError, ProfileError
from haloquant.quant.codebook import gaussian_sample, relative_error
from haloquant.store.profiles import find_profile
from support.accel_cases import WEIGHTS, toy_profile

SIZES = (("fast", 9, 6.0), ("slow", 16, 3.0))


def test_every_class_meets_its_clock_and_the_base_holds_all_values() -> None:
    profile = toy_profile()
    classes = choose_classes(profile, 0, gaussian_sample(8), SIZES)
    assert [book.name for book in classes.codebooks] == ["fast", "slow", "base"]
    assert classes.base.values.tolist() == WEIGHTS.tolist()
    for index, book in enumerate(classes.codebooks):
        assert book.point.period_s == pytest.approx(slowest_delay_s(profile, 0, book.values))
        assert 0 in book.values and classes.clock_ratio(index) >= 1.0


def test_a_margin_lengthens_the_period() -> None:
    period_s = toy_profile().delay_s[0].max()
    base = choose_classes(toy_profile(), 0, gaussian_sample(8), SIZES, margin=0.2).base
    assert base.point.period_s == pytest.approx(period_s / 0.8)
    assert base.slack_s == pytest.approx(0.2 * period_s / 0.8)


def test_no_margin_leaves_a_word_without_the_time_that_it_needs() -> None:
    """The slack is what the margin keeps free: the rounding of a period would take it below 0 at every other margin."""
    profile, sample = toy_profile(), gaussian_sample(8)
    for margin in (*np.linspace(0.01, 0.99, 25).tolist(), 0.999999):
        for book in choose_classes(profile, 0, sample, SIZES, margin=margin).codebooks:
            assert book.slack_s == pytest.approx(margin * book.point.period_s)


def test_no_choice_of_words_is_faster_or_quieter_than_the_fastest_classes() -> None:
    for profile in (toy_profile(), find_profile("paper-22nm"), find_profile("default")):
        chosen = choose_classes(profile, 0, gaussian_sample(8), (("fast", 2, 200.0), ("slow", 2, 200.0)), margin=0.1)
        bound = fastest_classes(profile, 0, margin=0.1)
        assert bound.base.point == chosen.base.point
        for index in range(2):
            assert bound.clock_ratio(index) >= chosen.clock_ratio(index) > 1
        assert np.all(bound.profile.energy_j == profile.energy_j.min())
        assert np.array_equal(bound.profile.delay_s, profile.delay_s)
    given = fastest_classes(find_profile("paper-22nm"), 0, clocks_hz=(3.7e9, 2.33e9))
    assert [book.point.frequency_hz for book in given.codebooks[:-1]] == [3.7e9, 3.7e9]


def test_profiles_without_zero_or_without_another_value_are_refused() -> None:
    profile = toy_profile()
    columns = {name: getattr(profile, name)[:, 1:2] for name in ("delay_s", "sensitised_delay_s", "energy_j")}
    one = replace(profile, weights=np.array([3], np.int16), **columns)
    with pytest.raises(ProfileError, match=r"^profile toy must hold the weight value 0"):
        choose_classes(one, 0, gaussian_sample(8), SIZES)
    with pytest.raises(InfeasibleError, match=r"^profile toy must hold a weight value other than 0 for the words"):
        choose_classes(replace(one, weights=np.array([0], np.int16)), 0, gaussian_sample(8), SIZES)


def test_clocks_take_the_words_that_meet_them_and_run_at_them() -> None:
    paper = find_profile("paper-22nm")
    sizes = (("fast", 9, 3.7e9), ("slow", 16, 2.33e9))
    classes = classes_at_clocks(paper, 0, gaussian_sample(8), sizes)
    fast, slow, base = classes.codebooks
    assert fast.values.tolist() == list(range(-128, 128, 32)) and slow.values.tolist() == list(range(-128, 128, 16))
    assert [book.point.frequency_hz for book in (fast, slow)] == [3.7e9, 2.33e9]
    for book in (fast, slow):
        delay_s = paper.delay_s[0][np.isin(paper.weights, book.values)].max()
        assert book.slack_s == pytest.approx(book.point.period_s - delay_s) and book.slack_s >= 0
    assert base.values.size == 256 and classes.clock_ratio(0) == pytest.approx(3.7e9 * paper.delay_s[0].max())


def test_the_best_words_are_taken_where_more_meet_the_clock() -> None:
    paper = find_profile("paper-22nm")
    (fast, slow, _) = classes_at_clocks(
        paper, 0, gaussian_sample(8), (("fast", 4, 3.7e9), ("slow", 16, 1.95e9))
    ).codebooks
    assert fast.values.size == 4 and 0 in fast.values and set(fast.values.tolist()) <= set(range(-128, 128, 32))
    assert slow.values.size == 16 and set(slow.values.tolist()) - set(range(-128, 128, 16))


@pytest.mark.parametrize(
    ("clocks", "sentence"),
    [
        (
            (2.4e9, 3.7e9),
            "must fall and stay above the 1.916 GHz that every value of paper-22nm meets, not 2.4, 3.7 GHz",
        ),
        ((3.7e9, 1.9e9), "must fall and stay above the 1.916 GHz"),
    ],
)
def test_clocks_that_do_not_fall_or_that_all_values_meet_are_refused(
    clocks: tuple[float, float], sentence: str
) -> None:
    sizes = (("fast", 9, clocks[0]), ("slow", 16, clocks[1]))
    with pytest.raises(InputError, match=sentence):
        classes_at_clocks(find_profile("paper-22nm"), 0, gaussian_sample(8), sizes)


def test_a_clock_that_no_word_meets_is_refused() -> None:
    paper = find_profile("paper-22nm")
    with pytest.raises(InfeasibleError, match="no weight value meets it"):
        classes_at_clocks(paper, 0, gaussian_sample(8), (("fast", 9, 9e9), ("slow", 16, 2.33e9)))
    slow_zero = replace(paper, delay_s=np.where(paper.weights == 0, 5e-10, paper.delay_s))
    with pytest.raises(
        InfeasibleError, match=r"must be one that the value 0 of paper-22nm and another one meet, not 3.7 GHz"
    ):
        classes_at_clocks(slow_zero, 0, gaussian_sample(8), (("fast", 9, 3.7e9), ("slow", 16, 2.33e9)))


def test_energy_in_the_choice_of_words_lowers_their_energy_and_accuracy() -> None:
    default, sample = find_profile("default"), gaussian_sample(16)
    plain, quiet = (
        choose_classes(default, 0, sample, (("slow", 16, 1.0),), energy_weight=weight).codebooks[0]
        for weight in (0.0, 0.5)
    )
    spent, lost = [], []
    for book in (plain, quiet):
        error, codes = relative_error(book.values, sample)
        energy = default.energy_j[0][np.searchsorted(default.weights, book.values)]
        spent.append(float(energy[codes].mean()))
        lost.append(error)
    assert spent[1] < 0.95 * spent[0] and lost[1] > lost[0]
