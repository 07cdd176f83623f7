"""Arrays that are pinned to one clock each."""

import pytest

from haloquant.dvfs.schedule import Policy, plan
from haloquant.errors import InfeasibleError
from support.accel_cases import BASE, MIDDLE, TOP, random_tiles, tiny_workload

POINTS = (BASE, MIDDLE, TOP)


def test_islands_share_tiles_and_never_switch() -> None:
    workload = tiny_workload()
    schedule = plan(workload.gemms, random_tiles(workload, 0), POINTS, BASE, Policy.ISLANDS, arrays=5)
    assert schedule.transitions == 0
    owners = {phase.arrays: phase.point for phase in schedule.phases}
    assert len(owners) == 3
    assert sorted(number for low, high in owners for number in range(low, high)) == list(range(5))


def test_fewer_arrays_than_points_are_refused() -> None:
    workload = tiny_workload(layers=1)
    tiles = random_tiles(workload, 0)
    with pytest.raises(InfeasibleError, match=r"^islands need at least one array for each of the 3 operating points"):
        plan(workload.gemms, tiles, POINTS, BASE, Policy.ISLANDS, arrays=2)
