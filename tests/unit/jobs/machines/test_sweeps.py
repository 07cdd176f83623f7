"""Claims, sweeps, deadlines and a graphics processor for a tiny shape and a made-up multiplier."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from haloquant.accel.workload.prefill_decode import decode, prefill
from haloquant.dvfs.classes import Classes
from haloquant.errors import InfeasibleError, InputError
from haloquant.jobs.machines.supply_law import choose_supply_law
from haloquant.jobs.machines.sweeps import bandwidth_clock_map, deadline_runs, gpu_runs, paper_claims, sweep_systems
from haloquant.store.targets import read_gpu, read_systolic
from support.accel_cases import BASE
from support.machine_models import BOOKS, LOADED, SHAPE, profile_of_a_known_law
from support.near import near


def test_claims_stand_side_by_side() -> None:
    found = paper_claims(LOADED, read_systolic("paper_tpu"), read_systolic("edge_lpddr5x"), 256, 256, 1)
    assert [(c.described.phase, c.described.rival.split()[0]) for c in found] == [
        (phase, rival) for phase in ("prefill", "decode") for rival in ("FP16", "W8A8", "W4A8", "W3A8")
    ]
    by = {(c.described.phase, c.described.rival.split()[0]): c for c in found}
    # the paper's premises: the same gain in both passes, none of it from bits
    assert by["prefill", "W8A8"].paper.speedup == near(by["decode", "W8A8"].paper.speedup, rel=0.1)
    assert by["decode", "W8A8"].paper.speedup == near(by["decode", "W4A8"].paper.speedup)
    # a machine with memory: decode gains what bits give, so hardly anything against four bits
    assert by["decode", "W4A8"].described.speedup < 1.2 < by["decode", "W8A8"].described.speedup


@pytest.mark.parametrize("over", ["transition", "static", "bandwidth"])
def test_sweeps_move_what_they_should(over: str) -> None:
    machine = read_systolic("edge_lpddr5x")
    found = sweep_systems(LOADED, decode(SHAPE, 64), machine, over)
    ours = [item.point for item in found if item.system.startswith("HALO")]
    rival_systems = [item.point for item in found if item.system == "W8A8"]
    values = [point.value for point in ours]
    assert values == sorted(values) and len(ours) == len(rival_systems) >= 4
    times = [point.simulation.time_s for point in ours]
    energies = [point.simulation.total.total_energy_j for point in ours]
    if over == "transition":
        assert times == sorted(times)
        assert len({point.simulation.time_s for point in rival_systems}) == 1  # one class switches nothing
    elif over == "static":
        assert len(set(times)) == 1 and energies == sorted(energies)
    else:
        assert times == sorted(times, reverse=True)


def test_a_sweep_over_something_else_is_refused() -> None:
    with pytest.raises(InputError, match=r"^a sweep must be over transition, static or bandwidth, not 'colour'$"):
        sweep_systems(LOADED, decode(SHAPE, 64), read_systolic("edge_lpddr5x"), "colour")


def test_a_deadline_spares_energy_or_says_the_least_possible() -> None:
    machine, step = read_systolic("edge_lpddr5x"), decode(SHAPE, 64)
    found = deadline_runs(LOADED, step, machine, 1.0, 0.0)
    assert found.least_energy.energy_j < found.race_to_idle.energy_j and found.supply_factor < 1
    assert found.law == (
        "ASSUMED, not measured: alpha-power law with a threshold of 0.35 V and an exponent of 1.3, down to 60% of the "
        "base supply; a V-f curve needs at least 3 voltages of one process and temperature, and toy has 1"
    )
    assert [factor for factor, _ in found.candidates][::16] == [1.0, 0.6]
    assert found.race_to_idle.simulation.time_s <= found.least_energy.simulation.time_s <= 1.0
    least = found.race_to_idle.simulation.time_s
    hurried = deadline_runs(LOADED, step, machine, least * 1.000001, 0.0)
    assert hurried.least_energy.simulation.time_s <= least * 1.000001
    with pytest.raises(
        InfeasibleError, match=r"^deadline must be at least .*s, the fastest this machine can do, not 1 ns"
    ):
        deadline_runs(LOADED, step, machine, 1e-9, 0.0)


def test_a_deadline_uses_the_measured_curve_where_there_is_one() -> None:
    profile, slower = profile_of_a_known_law()
    machine, step = read_systolic("edge_lpddr5x"), decode(SHAPE, 64)
    loaded = replace(LOADED, classes=Classes(profile, 3, BOOKS))
    found = deadline_runs(loaded, step, machine, 1.0, 0.0)
    assert found.law == choose_supply_law(profile, machine).source and found.candidates[-1][0] == near(1.2 / 1.8)
    # nothing at the lowest supply runs faster than the curve allows
    fastest = max(segment.point.frequency_hz for segment in found.candidates[-1][1].segments)
    own = max(segment.point.frequency_hz for segment in found.candidates[0][1].segments)
    assert fastest == near(own / slower[0], rel=1e-3)


def test_the_map_has_the_machine_in_its_middle() -> None:
    machine, step = read_systolic("edge_lpddr5x"), decode(SHAPE, 64)
    cells = bandwidth_clock_map(LOADED, step, machine)
    assert len(cells) == 25 and [i for i, cell in enumerate(cells) if cell.own] == [12]
    assert cells[12].base_frequency_hz == machine.base.frequency_hz
    time_s = {(c.bandwidth_b_per_s, c.base_frequency_hz): c.time_s for c in cells}
    for (bandwidth, clock), seconds in time_s.items():
        assert time_s.get((2 * bandwidth, clock), 0.0) <= seconds * (1 + 1e-9)
        assert time_s.get((bandwidth, 2 * clock), 0.0) <= seconds * (1 + 1e-9)
    slow = min(cells, key=lambda c: (-c.bandwidth_b_per_s, c.base_frequency_hz))
    starved = min(cells, key=lambda c: (c.bandwidth_b_per_s, -c.base_frequency_hz))
    assert (slow.bound, starved.bound) == ("compute", "dram")


@pytest.mark.parametrize("over", [sweep_systems, bandwidth_clock_map])
def test_a_bandwidth_without_a_limit_cannot_be_varied(over: Callable[..., object]) -> None:
    rest = ("bandwidth",) if over is sweep_systems else ()
    with pytest.raises(
        InputError, match=r"^a sweep over bandwidth needs a machine with a limited bandwidth, not paper_"
    ):
        over(LOADED, decode(SHAPE, 64), read_systolic("paper_tpu"), *rest)


def test_a_graphics_processor_gains_from_bits_in_decode_and_from_rate_in_prefill() -> None:
    board = read_gpu("gpu_2080ti")
    step = {w.cost.format: w.cost.time_s for w in gpu_runs(LOADED, decode(SHAPE, 1), board) if w.speedup == 1.0}
    assert step["FP16"] > step["W8A8"] > step["W4A8"] > step["HALO"]
    read = {
        w.cost.format: w.cost for w in gpu_runs(LOADED, prefill(SHAPE, 4096), board) if w.cost.point == board.points[0]
    }
    assert read["W8A8"].time_s == near(read["HALO"].time_s, rel=0.05)
    assert BASE.frequency_hz > board.points[0].frequency_hz
