"""Lanes: numbers of combinations, and means over lanes."""

import numpy as np
import pytest

from haloquant.circuits.simulation.waveform_lanes import (
    accumulate_totals,
    extend_keys,
    extend_keys_mapped,
    gather,
    number_keys_direct,
    number_keys_hashed,
    take_latest,
)
from support.near import near


def _numbered(keys: np.ndarray, hashed: bool, size: int) -> tuple[list[int], list[int]]:
    table = np.full(size, -1, np.int64)
    number, lane_of = np.zeros(keys.size, np.int64), np.zeros(keys.size, np.int64)
    count = (number_keys_hashed if hashed else number_keys_direct)(keys, table, number, lane_of)
    assert (table == -1).all()  # the next call finds the table as this one did
    return number.tolist(), lane_of[:count].tolist()


@pytest.mark.parametrize("hashed", [False, True])
def test_keys_are_numbered_in_order_of_appearance(hashed: bool) -> None:
    assert _numbered(np.array([7, 3, 7, 0, 3]), hashed, 16) == ([0, 1, 0, 2, 1], [0, 1, 3])


@pytest.mark.parametrize("seed", range(20))
def test_full_tables_number_large_keys_as_a_dictionary_does(seed: int) -> None:
    """64 lanes in a table of 128 places: many keys share a place."""
    keys = np.random.default_rng(seed).integers(0, 1 << 60, 40)[np.random.default_rng(seed).integers(0, 40, 64)]
    known: dict[int, int] = {}
    wanted = [known.setdefault(int(key), len(known)) for key in keys]
    number, lane_of = _numbered(keys, True, 128)
    assert number == wanted
    assert keys[lane_of].tolist() == list(known)


def test_a_key_is_the_combination_of_all_pins() -> None:
    keys = np.zeros(3, np.int64)
    extend_keys(keys, np.array([0, 1, 2]), 3)
    extend_keys_mapped(keys, np.array([1, 4]), np.array([0, 0, 1]), 5)
    assert keys.tolist() == [1, 6, 14]


def test_lanes_get_the_waveform_of_their_combination() -> None:
    ids = np.zeros(4, np.int64)
    gather(np.array([8, 9]), np.array([1, 0, 0, 1]), ids)
    assert ids.tolist() == [9, 8, 8, 9]


def test_totals_are_means_over_the_lanes_of_each_distribution() -> None:
    """Combination 0 gives waveform 0 with two edges and 1 J, combination 1 waveform 1 with three edges and 10 J."""
    probability = np.array([[0.5, 0.25, 0.25], [0.0, 1.0, 0.0]])
    totals = np.zeros((2, 2))
    number, starts = np.array([0, 1, 0]), np.array([0, 2, 5])
    accumulate_totals(number, probability, np.array([0, 1]), starts, np.array([1.0, 10.0]), np.zeros(2), totals)
    assert totals.ravel() == near([0.75 * 2 + 0.25 * 3, 0.75 + 2.5, 3.0, 10.0])


def test_the_latest_edge_is_that_of_the_latest_net() -> None:
    latest = np.array([5, 0, 7])
    take_latest(latest, np.array([4, 6]), np.array([1, 0]), np.array([0, 1, 1]))
    assert latest.tolist() == [6, 4, 7]
