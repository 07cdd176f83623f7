"""Schedules that leave out or repeat a tile are refused."""

from dataclasses import replace

import numpy as np
import pytest

from haloquant.accel.simulation import simulate
from haloquant.dvfs.schedule import plan
from haloquant.errors import InputError
from support.accel_cases import BASE, MIDDLE, TOP, tiny_case, toy_profile, toy_target

POINTS = (BASE, MIDDLE, TOP)


def test_schedules_that_do_not_cover_the_workload_are_refused() -> None:
    workload, tiles = tiny_case()
    schedule = plan(workload.gemms, tiles, POINTS, BASE)
    target, profile = toy_target(), toy_profile()
    first = schedule.phases[0]
    with pytest.raises(InputError, match=r"^every tile of 0.\w must run exactly once, not 0 times \(tile \d, \d\)$"):
        simulate(workload, tiles, replace(schedule, phases=schedule.phases[1:]), target, profile)
    twice = replace(schedule, phases=(first, *schedule.phases))
    with pytest.raises(InputError, match=r"^every tile of 0.\w must run exactly once, not 2 times \(tile \d, \d\)$"):
        simulate(workload, tiles, twice, target, profile)
    with pytest.raises(InputError, match=r"^schedule must list the 6 products of workload tiny prefill in order"):
        simulate(workload, tiles, replace(schedule, layers=schedule.layers[:-1]), target, profile)
    less = {name: t for name, t in tiles.items() if name != "1.o"}
    with pytest.raises(
        InputError, match=r"^1.o must run as a whole because it has no tile map, but the schedule lists tiles of it$"
    ):
        simulate(workload, less, schedule, target, profile)
    run = first.runs[0]
    outside = replace(first, runs=(replace(run, places=run.places + np.array([90, 0], np.int32)), *first.runs[1:]))
    with pytest.raises(InputError, match=r"^tiles of 0.\w must lie within \d x 3 \(down x across\)$"):
        simulate(workload, tiles, replace(schedule, phases=(outside, *schedule.phases[1:])), target, profile)
    late = replace(first, group=5)
    with pytest.raises(InputError, match=r"^tiles of 0.\w must run in its dependency group, 0$"):
        simulate(workload, tiles, replace(schedule, phases=(late, *schedule.phases[1:])), target, profile)
