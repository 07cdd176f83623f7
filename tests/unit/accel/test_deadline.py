"""The least energy under a deadline."""

import pytest

from haloquant.accel.deadline import meet_deadline, race_to_idle
from haloquant.accel.rival_systems import System
from haloquant.accel.simulation import simulate
from haloquant.accel.system_comparison import runs_at_lower_supplies
from haloquant.dvfs.alpha_power_law import alpha_power_delay
from haloquant.dvfs.schedule import plan
from haloquant.dvfs.supply_modes import slowed_points
from haloquant.errors import InfeasibleError, InputError
from haloquant.records import OperatingPoint
from support.accel_cases import BASE, MIDDLE, TOP, tiny_case, toy_profile, toy_target
from support.near import near
from support.schedules import repoint

POINTS = (BASE, MIDDLE, TOP)


def test_a_deadline_is_met_with_the_least_energy() -> None:
    workload, tiles = tiny_case()
    schedule = plan(workload.gemms, tiles, POINTS, BASE)
    runs = []
    for factor in (1.0, 0.8, 0.5):  # a lower supply: slower, less switching energy
        slower = {p: OperatingPoint(p.voltage_v * (0.5 + factor / 2), p.frequency_hz * factor) for p in POINTS}
        runs.append(simulate(workload, tiles, repoint(schedule, slower), toy_target(), toy_profile()))
    times = [run.time_s for run in runs]
    assert times == sorted(times)
    race = race_to_idle(runs[0], 2 * times[0], 0.001)
    assert race.idle_j == near(0.001 * times[0])
    assert meet_deadline(runs, times[0], 0.001).simulation is runs[0]
    best = meet_deadline(runs, 10 * times[-1], 0.0)
    assert best.energy_j == min(run.total.total_energy_j for run in runs)
    with pytest.raises(InfeasibleError, match=r"^deadline must be at least [\d.]+ ns, the fastest this .* not 1 ns$"):
        meet_deadline(runs, 1e-9, 0.0)
    with pytest.raises(InfeasibleError, match=r"^deadline must be at least "):
        race_to_idle(runs[0], 1e-9, 0.0)
    with pytest.raises(InputError, match=r"^deadline must be above 0 s, not -1 s$"):
        meet_deadline(runs, -1.0, 0.0)
    with pytest.raises(InputError, match=r"^idle power must be at least 0 W, not -1 W$"):
        meet_deadline(runs, 1.0, -1.0)
    with pytest.raises(InputError, match=r"^candidates of a deadline must be at least one simulation, not none$"):
        meet_deadline([], 1.0, 0.0)


def test_lower_supplies_are_candidates_for_a_deadline() -> None:
    workload, tiles = tiny_case()
    curve = alpha_power_delay(0.35, 1.3, 1.0)
    system = System("HALO", tiles, POINTS, 8, "")
    runs = runs_at_lower_supplies(
        system, workload, toy_target(), toy_profile(), plan, lambda p, f: slowed_points(p, curve, f), [1.0, 0.9, 0.7]
    )
    times = [run.time_s for run in runs]
    assert times == sorted(times) and times[2] > times[0]
    macs = [run.total.energy_j["mac"] for run in runs]
    assert macs[1] / macs[0] == near(0.81) and macs[2] / macs[0] == near(0.49)
    # with time to spare and free idling the lowest supply wins; in a hurry only the highest is left
    assert meet_deadline(runs, 2 * times[2], 0.0).simulation.total.energy_j["mac"] == macs[2]
    assert meet_deadline(runs, 1.0001 * times[0], 0.0).simulation is runs[0]
