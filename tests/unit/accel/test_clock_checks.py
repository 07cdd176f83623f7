"""Clocks that a weight value does not meet, and clocks that cannot be checked."""

from dataclasses import replace

import numpy as np
import pytest

from haloquant.accel.simulation import simulate
from haloquant.dvfs.schedule import plan
from haloquant.errors import InputError
from haloquant.records import OperatingPoint
from support.accel_cases import BASE, MIDDLE, TOP, honest, tiny_case, toy_codebooks, toy_profile, toy_target
from support.schedules import repoint

POINTS = (BASE, MIDDLE, TOP)


def test_a_clock_that_a_value_does_not_meet_is_refused() -> None:
    workload, tiles = tiny_case()
    tiles = {name: replace(t, classes=np.full_like(t.classes, 2)) for name, t in tiles.items()}
    schedule = plan(workload.gemms, tiles, POINTS, BASE)
    same_volts = repoint(schedule, {TOP: OperatingPoint(1.0, 3.7e9)})
    sentence = (
        r"^operating point of tile \(\d, \d\) of 0.q must be at most 1.9 GHz at 1 V, which its slowest weight value "
        r"meets, not 3.7 GHz$"
    )
    with pytest.raises(InputError, match=sentence):
        simulate(workload, tiles, same_volts, honest(toy_target()), toy_profile())
    with pytest.raises(InputError, match=r"at 1.2 V, which its slowest weight value meets, not 3.7 GHz"):
        simulate(
            workload, tiles, schedule, honest(toy_target()), toy_profile(), delay_at=lambda _: toy_profile().delay_s[0]
        )


def test_a_layer_that_runs_whole_is_held_to_its_values_too() -> None:
    workload, tiles = tiny_case()
    schedule = plan(workload.gemms, tiles, [OperatingPoint(1.0, 3.7e9)] * 3, BASE, "none")
    whole = tuple(replace(phase, runs=(), whole=tuple({run.layer for run in phase.runs})) for phase in schedule.phases)
    with pytest.raises(InputError, match=r"which its slowest weight value meets, not 3.7 GHz$"):
        simulate(workload, tiles, replace(schedule, phases=whole), honest(toy_target()), toy_profile())


def test_what_cannot_be_checked_is_said() -> None:
    workload, tiles = tiny_case()
    schedule = plan(workload.gemms, tiles, POINTS, BASE)
    claim = simulate(workload, tiles, schedule, toy_target(), toy_profile())
    assert claim.notes[-1] == "3.7 GHz at 1.2 V on toy was not checked against profile toy: its clocks are a claim"
    own = simulate(workload, tiles, schedule, honest(toy_target()), toy_profile())
    assert [note.split(" on ")[0] for note in own.notes] == ["2.4 GHz at 1.1 V", "3.7 GHz at 1.2 V"]
    assert own.notes[0].endswith("the profile holds no delays at that supply")


def test_a_machine_at_the_profile_s_own_points_is_checked_at_its_corner() -> None:
    workload, tiles = tiny_case()
    points = tuple(OperatingPoint(0.7, book.point.frequency_hz) for book in toy_codebooks())
    array = replace(toy_target().array, claimed_clocks=False, profile_voltage_v=0.7)
    machine = replace(toy_target(), points=points, array=array)
    schedule = plan(workload.gemms, tiles, points, machine.base)
    run = simulate(workload, tiles, schedule, machine, toy_profile(0.7))
    assert run.notes == ()
    assert machine.energy_voltage_v == 0.7 and machine.base.frequency_hz == 1.9e9
    faster = repoint(schedule, {points[2]: OperatingPoint(0.7, 4e9)})
    with pytest.raises(InputError, match=r"must be at most 3.7 GHz at 0.7 V"):
        simulate(workload, tiles, faster, machine, toy_profile(0.7))
