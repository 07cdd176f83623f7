"""Tiles, weight values, energies and sizes that are refused."""

from dataclasses import replace

import numpy as np
import pytest

from haloquant.accel.simulation import simulate
from haloquant.accel.workload.prefill_decode import Workload
from haloquant.dvfs.schedule import plan
from haloquant.errors import InputError, ProfileError
from haloquant.records import Gemm
from support.accel_cases import BASE, MIDDLE, TOP, WEIGHTS, tiny_case, toy_profile, toy_target

POINTS = (BASE, MIDDLE, TOP)


def test_tiles_of_another_array_and_unknown_values_are_refused() -> None:
    workload, tiles = tiny_case()
    schedule = plan(workload.gemms, tiles, POINTS, BASE)
    with pytest.raises(
        InputError, match=r"^tiles of 0.q must be 16 x 8 \(out x in\) as the array of toy is, not 8 x 8$"
    ):
        simulate(workload, tiles, schedule, toy_target(8, 16), toy_profile())
    some = {name: replace(t, values=(t.values + 1).astype(np.int16)) for name, t in tiles.items()}
    with pytest.raises(ProfileError, match=r"^weight values of 0.q must be among the 256 of profile toy .*, not 128$"):
        simulate(workload, some, schedule, toy_target(), toy_profile())
    blank = replace(toy_profile(), energy_j=np.where(WEIGHTS == 64, np.nan, toy_profile().energy_j))
    with pytest.raises(ProfileError, match=r"^energy of weight value 64 must be known to profile toy, not NaN; char"):
        simulate(workload, tiles, schedule, toy_target(), blank)
    with pytest.raises(InputError, match=r"^corner must be 0 to 0 for profile toy, not 3$"):
        simulate(workload, tiles, schedule, toy_target(), toy_profile(), corner=3)
    with pytest.raises(InputError, match=r"^cycles_per_mac must be above 0, not 0$"):
        simulate(workload, tiles, schedule, toy_target(), toy_profile(), cycles_per_mac=0.0)


@pytest.mark.parametrize(("name", "value"), [("m", 0), ("k", -3), ("n", 0), ("count", -1)])
def test_sizes_that_are_not_positive_are_refused(name: str, value: int) -> None:
    gemm = replace(Gemm("x", 1, 8, 8, 0), **{name: value})
    workload = Workload("bad", "decode", (gemm,), 1, 1, 1)
    with pytest.raises(InputError, match=f"^{name} of x must be at least 1, not {value}$"):
        simulate(workload, {}, plan(workload.gemms, {}, (), BASE), toy_target(), toy_profile())


def test_rows_of_a_group_must_be_equal() -> None:
    workload = Workload("bad", "decode", (Gemm("x", 1, 8, 8, 0), Gemm("y", 2, 8, 8, 0)), 1, 1, 1)
    with pytest.raises(InputError, match=r"^layers of one dependency group must have equal rows, not 1 and 2 \(y\)$"):
        simulate(workload, {}, plan(workload.gemms, {}, (), BASE), toy_target(), toy_profile())
