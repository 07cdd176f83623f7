"""Processing elements counted in full adders."""

import numpy as np
import pytest

from haloquant.accel import processing_elements
from haloquant.accel.simulation import simulate
from haloquant.dvfs.schedule import plan
from haloquant.errors import InputError
from support.accel_cases import BASE, random_tiles, tiny_workload, toy_target


def test_shift_and_add_delays_follow_the_bits_of_the_weight() -> None:
    four = processing_elements.array_element(4, 8)
    assert four.weights.tolist() == list(range(-8, 8))
    delay = dict(zip(four.weights.tolist(), four.delay_s[0].tolist(), strict=True))
    energy = dict(zip(four.weights.tolist(), four.energy_j[0].tolist(), strict=True))
    assert delay[4] == delay[-8] == delay[1] < delay[3] < delay[7] < delay[-1]
    assert energy[0] < energy[4] < energy[-1]
    # 4 bits of weight, 4 of activation: less delay and energy than 4 x 8, and that than 8 x 8
    preset, eight = processing_elements.array_element(4, 4), processing_elements.array_element(8, 8)
    assert preset.activation_bits == 4
    for kind in ("delay_s", "energy_j"):
        assert getattr(preset, kind).max() < getattr(four, kind).max() < getattr(eight, kind).max()
    with pytest.raises(InputError, match=r"^weight_bits of a processing element must be 2 to 8, not 9$"):
        processing_elements.array_element(9, 8)


def test_bit_serial_digits() -> None:
    assert processing_elements.signed_digits(np.array([0, 1, 3, 7, -7, 85, 127], np.int16)).tolist() == [
        0,
        1,
        2,
        2,
        2,
        4,
        2,
    ]
    assert (
        processing_elements.serial_element().energy_j[0][128 + 64]
        < processing_elements.serial_element().energy_j[0][128 + 85]
    )
    with pytest.raises(InputError, match=r"^digits_out of a bit-serial element must be at least 1, not 0$"):
        processing_elements.serial_element(0)


def test_an_element_runs_in_the_simulator_at_its_cycles_per_mac() -> None:
    workload = tiny_workload(30)
    tiles = random_tiles(workload, 0, classes=1)
    schedule = plan(workload.gemms, tiles, (BASE,) * 3, BASE)
    one = simulate(workload, tiles, schedule, toy_target(), processing_elements.serial_element())
    eight = simulate(workload, tiles, schedule, toy_target(), processing_elements.serial_element(), cycles_per_mac=8.0)
    assert eight.total.time_s["compute"] > 7 * one.total.time_s["compute"]
    assert eight.peak_macs_per_s == one.peak_macs_per_s / 8
