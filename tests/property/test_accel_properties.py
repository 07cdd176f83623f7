"""Properties of every simulation, over random tile maps, machines and policies."""

from collections import Counter
from dataclasses import replace
from itertools import pairwise

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from haloquant.accel.cost_model.cycles import WeightLoad, first_load_cycles, run_cycles
from haloquant.accel.results import Simulation
from haloquant.accel.simulation import simulate
from haloquant.accel.target import Target
from haloquant.accel.timeline.events import timeline
from haloquant.accel.workload.prefill_decode import Workload
from haloquant.dvfs.reference.exhaustive_order import fewest_transitions
from haloquant.dvfs.schedule import Policy, plan
from haloquant.records import LayerTiles, OperatingPoint, Schedule
from support.accel_cases import BASE, random_tiles, tiny_workload, toy_codebooks, toy_profile, toy_target
from support.near import near
from support.schedules import block_orders

POINTS = tuple(book.point for book in toy_codebooks())
quick = settings(max_examples=15, deadline=None)
cases = st.tuples(
    st.integers(0, 10_000),
    st.sampled_from([1, 5, 30]),
    st.sampled_from([*Policy]),
    st.sampled_from([3, 4]),
    st.sampled_from(list(WeightLoad)),
    st.booleans(),
)


def _case(
    case: tuple[int, int, Policy, int, WeightLoad, bool],
) -> tuple[Workload, dict[str, LayerTiles], Schedule, Target]:
    seed, m, policy, arrays, load, attention = case
    workload = tiny_workload(m, attention=attention, phase="decode" if m == 1 else "prefill")
    tiles = random_tiles(workload, seed)
    target = toy_target(count=arrays)
    target = replace(target, array=replace(target.array, weight_load=load))
    schedule = plan(workload.gemms, tiles, POINTS, BASE, policy, 900.0 * arrays, arrays)
    return workload, tiles, schedule, target


def _run(workload: Workload, tiles: dict[str, LayerTiles], schedule: Schedule, target: Target) -> Simulation:
    return simulate(workload, tiles, schedule, target, toy_profile())


@quick
@given(cases)
def test_parts_sum_to_totals_and_floors_hold(case: tuple[int, int, Policy, int, WeightLoad, bool]) -> None:
    workload, tiles, schedule, target = _case(case)
    run = _run(workload, tiles, schedule, target)
    for kind in ("time_s", "energy_j"):
        parts = getattr(run.total, kind)
        for part, value in parts.items():
            assert value == near(sum(getattr(layer.cost, kind).get(part, 0.0) for layer in run.layers))
            assert value >= 0
    assert run.time_s == near(sum(run.total.time_s.values()))
    assert run.time_s == near(run.segments[-1].end_s)
    assert run.total.transitions == schedule.transitions
    assert run.time_s >= run.dram_bytes / target.dram.stream_b_per_s * (1 - 1e-9)
    assert run.time_s >= run.macs / run.peak_macs_per_s
    assert 0 < run.utilisation <= 1
    assert set(run.total.energy_j) == {"mac", "spmv", "sram", "accumulator", "dram", "leakage", "dvfs"}


@quick
@given(cases)
def test_every_tile_runs_once_at_a_clock_its_class_allows(case: tuple[int, int, Policy, int, WeightLoad, bool]) -> None:
    workload, tiles, schedule, _ = _case(case)
    seen: Counter[tuple[int, int, int]] = Counter()
    for phase in schedule.phases:
        for layer, down, across in phase.tiles.tolist():
            seen[layer, down, across] += 1
            known = tiles[schedule.layers[layer]]
            assert phase.point.frequency_hz <= POINTS[known.classes[down, across]].frequency_hz
            present = known.values[known.histogram[down, across] > 0].astype(np.int64)
            delay = toy_profile().delay_s[0][present + 128].max()
            assert delay <= phase.point.period_s
    wanted = {
        (number, d, a)
        for number, gemm in enumerate(workload.gemms)
        if gemm.layer in tiles
        for d in range(tiles[gemm.layer].grid.down)
        for a in range(tiles[gemm.layer].grid.across)
    }
    assert set(seen) == wanted
    assert set(seen.values()) == {1}


@quick
@given(cases, st.sampled_from(["bandwidth", "clock", "transition"]))
def test_monotone(case: tuple[int, int, Policy, int, WeightLoad, bool], what: str) -> None:
    workload, tiles, schedule, target = _case(case)
    slow = _run(workload, tiles, schedule, target)
    if what == "bandwidth":
        better = replace(target, dram=replace(target.dram, bandwidth_b_per_s=1.7 * target.dram.bandwidth_b_per_s))
        fast = _run(workload, tiles, schedule, better)
    elif what == "transition":
        better = replace(target, transition=replace(target.transition, latency_s=1e-8))
        fast = _run(workload, tiles, schedule, better)
    else:
        faster = [OperatingPoint(p.voltage_v, 1.5 * p.frequency_hz) for p in POINTS]
        base = OperatingPoint(BASE.voltage_v, 1.5 * BASE.frequency_hz)
        again = plan(
            workload.gemms, tiles, faster, base, schedule.policy, 900.0 * target.array.count, target.array.count
        )
        fast = _run(workload, tiles, again, target)
    assert fast.time_s <= slow.time_s * (1 + 1e-9)


@quick
@given(st.integers(0, 10_000), st.sampled_from(["serpentine", "panel", "colblock"]))
def test_one_class_and_free_switches_is_the_baseline(seed: int, policy: str) -> None:
    workload = tiny_workload(30)
    tiles = random_tiles(workload, seed)
    target = toy_target()
    free = replace(target, transition=replace(target.transition, latency_s=0.0, energy_j=0.0))
    one = plan(workload.gemms, tiles, [BASE] * 3, BASE, policy)
    none = plan(workload.gemms, tiles, POINTS, BASE, Policy.NONE)
    assert one.transitions == 0
    a, b = (_run(workload, tiles, schedule, free) for schedule in (one, none))
    assert a.time_s == near(b.time_s)
    assert dict(a.total.energy_j) == near(dict(b.total.energy_j))


@quick
@given(cases)
def test_static_power_changes_leakage_alone(case: tuple[int, int, Policy, int, WeightLoad, bool]) -> None:
    workload, tiles, schedule, target = _case(case)
    target = replace(target, transition=replace(target.transition, regulator_efficiency=1.0))
    half = replace(
        target, static=replace(target.static, array_w=target.static.array_w / 2, rest_w=target.static.rest_w / 2)
    )
    a, b = (_run(workload, tiles, schedule, machine) for machine in (target, half))
    assert b.total.energy_j["leakage"] == near(a.total.energy_j["leakage"] / 2)
    assert {k: v for k, v in a.total.energy_j.items() if k != "leakage"} == {
        k: v for k, v in b.total.energy_j.items() if k != "leakage"
    }
    assert dict(a.total.time_s) == dict(b.total.time_s)


@quick
@given(cases)
def test_events_of_one_track_never_overlap(case: tuple[int, int, Policy, int, WeightLoad, bool]) -> None:
    workload, tiles, schedule, target = _case(case)
    run = _run(workload, tiles, schedule, target)
    line = timeline(run)
    assert line.end_s == near(run.time_s)
    for track in {event.track for event in line.events}:
        events = [event for event in line.events if event.track == track]
        assert all(a.start_s + a.duration_s <= b.start_s + 1e-15 for a, b in pairwise(events)), track
        assert events[-1].start_s + events[-1].duration_s <= run.time_s * (1 + 1e-9)
    switches = [event for event in line.events if event.name == "transition" and event.track == "array 0"]
    assert len(switches) == run.total.transitions


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(st.sampled_from(POINTS), min_size=1, max_size=4), min_size=1, max_size=3))
def test_order_of_classes_equals_the_exhaustive_search(groups: list[list[OperatingPoint]]) -> None:
    orders = block_orders([tuple(dict.fromkeys(group)) for group in groups], [1] * len(groups))
    flat = [point for order in orders for point in order]
    assert [set(order) for order in orders] == [set(group) for group in groups]
    assert sum(a != b for a, b in pairwise(flat)) == fewest_transitions(groups)


@quick
@given(st.integers(0, 10_000), st.sampled_from([1, 4, 9, 30]), st.sampled_from(list(WeightLoad)))
def test_array_time_and_energy_equal_a_tile_by_tile_sum(seed: int, m: int, load: WeightLoad) -> None:
    """The sum is taken tile by tile and value by value."""
    workload = tiny_workload(m)
    tiles = random_tiles(workload, seed, sparse=0)
    target = toy_target()
    target = replace(target, array=replace(target.array, weight_load=load))
    target = replace(target, dram=replace(target.dram, bandwidth_b_per_s=float("inf"), latency_s=0.0))
    target = replace(target, sram=replace(target.sram, bandwidth_b_per_s=float("inf")))
    schedule = plan(workload.gemms, tiles, POINTS, BASE, "serpentine")
    run = _run(workload, tiles, schedule, target)
    profile = toy_profile()
    cycles, seconds, joules = first_load_cycles(load, 8), 0.0, 0.0
    seconds = cycles / schedule.phases[0].point.frequency_hz
    for phase in schedule.phases:
        count = run_cycles(load, 8, 8, m, len(phase.tiles))
        cycles += count
        seconds += count / phase.point.frequency_hz
        for layer, down, across in phase.tiles.tolist():
            for value, times in zip(WEIGHT_LIST, tiles[schedule.layers[layer]].histogram[down, across], strict=True):
                joules += int(times) * m * profile.energy_j[0][value + 128] * phase.point.voltage_v**2
    assert run.total.cycles == cycles
    assert run.total.time_s["compute"] + run.total.time_s["fill"] == near(seconds)
    assert run.total.time_s["transition"] == near(schedule.transitions * 100e-9)
    assert run.total.energy_j["mac"] == near(joules)


WEIGHT_LIST = list(range(-128, 128))


@quick
@given(cases)
def test_equal_layers_are_worked_out_once_and_alike(case: tuple[int, int, Policy, int, WeightLoad, bool]) -> None:
    """Layers that share arrays in memory give the same result as layers with copies of them."""
    seed, m, policy, arrays, load, attention = case
    workload = tiny_workload(m, 4, attention=attention, phase="decode" if m == 1 else "prefill")
    first = random_tiles(workload, seed)
    shared = {name: replace(first["0" + name[1:]], layer=name) for name in first}
    apart = {
        name: replace(t, classes=t.classes.copy(), histogram=t.histogram.copy(), values=t.values.copy())
        for name, t in shared.items()
    }
    target = toy_target(count=arrays)
    target = replace(target, array=replace(target.array, weight_load=load))
    runs: list[Simulation] = []
    for tiles in (shared, apart):
        schedule = plan(workload.gemms, tiles, POINTS, BASE, policy, 900.0 * arrays, arrays)
        runs.append(_run(workload, tiles, schedule, target))
    assert runs[0] == runs[1]


def test_more_rows_do_not_make_more_work_than_columns_of_tiles() -> None:
    workload = {m: tiny_workload(m) for m in (1, 64, 4096, 262_144)}
    tiles = random_tiles(workload[1], 0)
    columns = sum(t.grid.down for t in tiles.values())
    for m, work in workload.items():
        for policy in Policy:
            room = 1e12 if policy == Policy.SERPENTINE else 900.0 * m
            schedule = plan(work.gemms, tiles, POINTS, BASE, policy, room, 3)
            assert len(schedule.phases) <= columns * len(POINTS)
            assert len(_run(work, tiles, schedule, toy_target(count=3)).segments) <= columns * len(POINTS)
