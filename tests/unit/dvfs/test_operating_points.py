"""Weight values of a profile: those that meet a period, the period that they need, and those that it lacks."""

from dataclasses import replace

import numpy as np
import pytest

from haloquant.dvfs.operating_points import (
    admissible_values,
    best_shift,
    check_integer_weights,
    delays_of,
    least_energy_point,
    period_for,
    rows_of,
    slowest_delay_s,
)
from haloquant.errors import InfeasibleError, ProfileError
from haloquant.records import OperatingPoint
from haloquant.store.profiles import find_profile
from haloquant.store.targets import read_systolic
from support.accel_cases import toy_profile
from support.known_law import FIVE_WEIGHTS, UNIT_S, known_law_profile


def test_the_admissible_values_are_those_that_meet_the_period():
    toy = known_law_profile()
    for period_s in (1e-10, 2.5e-10, 4e-10):
        found = admissible_values(toy, 0, period_s)
        assert period_for(toy, 0, found) <= period_s
        assert set(found) == set(FIVE_WEIGHTS[period_s >= UNIT_S])
    assert admissible_values(toy, 0, 2.5e-10, margin_s=1e-10).tolist() == [0, 1]
    assert period_for(toy, 0, FIVE_WEIGHTS, margin_s=1e-10) == 5e-10


def test_no_value_meets_the_period():
    toy = known_law_profile()
    slow = replace(toy, delay_s=toy.delay_s + 1e-10)
    sentence = r"the period must be at least 100 ps in toy at tt, not 50 ps: no weight value meets it"
    with pytest.raises(InfeasibleError, match=sentence):
        admissible_values(slow, 0, 5e-11)


def test_rows_and_delays_follow_the_order_of_the_values():
    toy = known_law_profile()
    assert rows_of(toy, [2, -2, 2, 0]).tolist() == [4, 0, 4, 2]
    assert delays_of(toy, 0, np.array([1, -1], np.int16)).tolist() == [UNIT_S[3], UNIT_S[1]]
    assert slowest_delay_s(toy, 0, [0, 1, -1]) == UNIT_S[1]
    assert rows_of(toy, []).tolist() == []


@pytest.mark.parametrize("lookup", [delays_of, slowest_delay_s, period_for])
def test_values_that_the_profile_lacks_are_named(lookup):
    toy = known_law_profile()
    sentence = r"^the weight values must be among the 5 of profile toy \(-2 to 2\), not -7, 7$"
    with pytest.raises(ProfileError, match=sentence):
        lookup(toy, 0, np.array([0, 7, -7, 7], np.int16))


def test_a_value_inside_the_range_may_be_missing_too():
    toy = known_law_profile()
    odd = replace(toy, weights=np.array([-4, -2, 0, 2, 4], np.int16))
    with pytest.raises(ProfileError, match=r"^words of x must be among the 5 of .*, not -5, -3, -1 and 3 more$"):
        rows_of(odd, np.arange(-5, 7, 2), "words of x")


def test_the_slowest_of_no_values_is_refused():
    with pytest.raises(ProfileError, match=r"^the slowest of some weight values of toy needs at least one value"):
        slowest_delay_s(known_law_profile(), 0, [])


def test_the_fastest_shift_wins_and_in_a_tie_the_least_energy() -> None:
    toy = toy_profile()
    delay, energy = np.ones_like(toy.delay_s), np.ones_like(toy.energy_j)
    flat = replace(toy, delay_s=delay, energy_j=energy)
    assert best_shift(flat, 0, [-1, 0, 1]) == 0
    delay = delay.copy()
    delay[:, ~np.isin(toy.weights, (-4, 0, 4, -16, 16))] = 2.0
    assert best_shift(replace(flat, delay_s=delay), 0, [-1, 0, 1]) == 2
    energy = energy.copy()
    energy[:, np.isin(toy.weights, (-16, 16))] = 0.5
    quiet = replace(flat, delay_s=delay, energy_j=energy)
    assert best_shift(quiet, 0, [-1, 0, 1]) == 4
    assert best_shift(quiet, 0, [-1, 0, 1], np.array([0.0, 1.0, 0.0])) == 2  # only 0 counts, and it costs the same
    assert best_shift(quiet, 0, [-1, 0, 1], period=lambda values: 1.0 / max(values)) == 6  # by a clock of the caller's
    assert best_shift(flat, 0, [-127, 0, 500]) is None


def test_the_point_of_least_energy_is_the_lowest_supply_whose_clock_all_values_meet():
    toy = known_law_profile()
    slowest = slowest_delay_s(toy, 0, toy.weights)
    points = [
        OperatingPoint(voltage, 1 / period)
        for voltage, period in ((0.7, slowest / 2), (0.9, slowest), (0.9, slowest * 2), (1.2, slowest * 3))
    ]
    assert least_energy_point(toy, 0, toy.weights, points) == points[1]
    with pytest.raises(
        InfeasibleError, match=r"^a point must have a clock of at most .*, which all values of toy meet"
    ):
        least_energy_point(toy, 0, toy.weights, points[:1])


def test_the_papers_sparse_engine_runs_at_its_base_point():
    profile, machine = find_profile("paper-22nm"), read_systolic("paper_tpu")
    assert least_energy_point(profile, 0, np.arange(-127, 128), machine.points) == machine.base
    assert least_energy_point(profile, 0, np.arange(-128, 128, 32), machine.points[1:]) == machine.points[1]


@pytest.mark.parametrize(
    ("said", "what"),
    [({"weight_format": "e4m3"}, "weights are 8-bit floats"), ({"activation_format": "e5m2"}, "activations are floats"),
     ({"result_format": "float16"}, "results are floats")],
)  # fmt: skip
def test_macs_of_floats_are_refused_where_whole_numbers_are_needed(said: dict[str, str], what: str) -> None:
    mac = find_profile("default")
    check_integer_weights(mac)
    check_integer_weights(replace(mac, provenance={**mac.provenance, "result_format": "fixed"}))
    with pytest.raises(ProfileError, match=f"is of a MAC whose {what}"):
        check_integer_weights(replace(mac, provenance={**mac.provenance, **said}))
