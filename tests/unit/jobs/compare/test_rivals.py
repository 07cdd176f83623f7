"""Where a rival's narrow integers stand in the MAC's weight, by a multiplier made by hand."""

from dataclasses import replace

import numpy as np

from haloquant.jobs.compare.rivals import best_place
from support.accel_cases import toy_profile


def test_the_fastest_place_wins_then_the_least_energy() -> None:
    toy = toy_profile()
    values = np.array([-1, 0, 1], np.int16)
    delay, energy = np.ones_like(toy.delay_s), np.ones_like(toy.energy_j)
    flat = replace(toy, delay_s=delay, energy_j=energy)
    assert best_place(values, flat, 0).tolist() == [-1, 0, 1]
    delay = delay.copy()
    delay[:, ~np.isin(toy.weights, (-4, 0, 4, -16, 16))] = 2.0
    assert best_place(values, replace(flat, delay_s=delay), 0).tolist() == [-4, 0, 4]
    energy = energy.copy()
    energy[:, np.isin(toy.weights, (-16, 16))] = 0.5
    assert best_place(values, replace(flat, delay_s=delay, energy_j=energy), 0).tolist() == [-16, 0, 16]


def test_integers_that_the_mac_lacks_have_no_place() -> None:
    toy = toy_profile()
    assert best_place(np.array([-127, 0, int(toy.weights[-1]) + 1], np.int16), toy, 0) is None
