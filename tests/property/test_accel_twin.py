"""The fast planner and cost model (whole groups at once) against the slow ones (panel by panel, phase by phase)."""

from collections.abc import Mapping
from dataclasses import fields, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from haloquant.accel.cost_model.cycles import WeightLoad
from haloquant.accel.results import LayerCost, Segment, Simulation
from haloquant.accel.simulation import simulate
from haloquant.accel.timeline.events import timeline
from haloquant.accel.timeline.segments import SegmentTable
from haloquant.dvfs.order import count_transitions
from haloquant.dvfs.schedule import Policy, plan
from haloquant.errors import InputError
from haloquant.records import Cost, LayerTiles, OperatingPoint, Schedule
from haloquant.records.phases import PhaseTable
from support.accel_cases import BASE, MIDDLE, TOP, random_tiles, tiny_workload, toy_profile, toy_target
from support.panel_planner import panel_phases

CLOSE = 1e-12
POINTS = (
    (BASE, MIDDLE, TOP),
    (BASE, MIDDLE, MIDDLE),  # two classes at one point
    (BASE, OperatingPoint(1.0, 2.3718281828e9), OperatingPoint(1.0, 3.14159265e9)),
    (OperatingPoint(0.9, 1.9e9), OperatingPoint(0.8, 1.9e9), OperatingPoint(0.7, 1.9e9)),  # eco: one clock
)
cases = st.fixed_dictionaries(
    {
        "seed": st.integers(0, 10_000),
        "m": st.sampled_from([1, 4, 30, 300, 5000, 131_072]),
        "layers": st.integers(1, 4),
        "classes": st.integers(1, 3),
        "points": st.sampled_from(POINTS),
        "policy": st.sampled_from([policy for policy in Policy if policy != Policy.ISLANDS]),
        "arrays": st.integers(1, 5),
        "room": st.sampled_from([float("inf"), 40.0, 150.0, 900.0]),  # bytes of partial sums per row of activations
        "load": st.sampled_from(list(WeightLoad)),
        "bandwidth": st.sampled_from([2e9, 20e9, float("inf")]),
        "attention": st.booleans(),
        "shared": st.booleans(),  # every layer with the first one's tiles, in memory too
        "floating": st.booleans(),  # one layer without tiles
        "serial": st.sampled_from([1.0, 8.0]),
    }
)


def _made(case: dict) -> tuple[Schedule, Mapping[str, LayerTiles], tuple[Simulation, Simulation]]:
    """The schedule, and the simulations of its table and of the same phases as a list."""
    workload = tiny_workload(case["m"], case["layers"], case["attention"], "decode" if case["m"] == 1 else "prefill")
    tiles = random_tiles(workload, case["seed"], case["classes"])
    if case["shared"]:
        tiles = {name: replace(tiles["0" + name[1:]], layer=name) for name in tiles}
    if case["floating"]:
        del tiles["0.k"]
    base = case["points"][0]
    room = max(case["room"], 150.0 if case["policy"] == Policy.SERPENTINE else 33.0 * case["arrays"]) * case["m"]
    schedule = plan(workload.gemms, tiles, case["points"], base, case["policy"], room, case["arrays"])
    target = toy_target(count=case["arrays"])
    target = replace(
        target,
        array=replace(target.array, weight_load=case["load"]),
        dram=replace(target.dram, bandwidth_b_per_s=case["bandwidth"]),
    )
    phases = panel_phases(
        workload.gemms, tiles, case["points"], base, case["policy"], room, case["arrays"], schedule.row_blocks
    )
    assert isinstance(schedule.phases, PhaseTable)
    assert [(p.group, p.point, p.whole) for p in schedule.phases] == [(p.group, p.point, p.whole) for p in phases]
    assert all((a.tiles == b.tiles).all() for a, b in zip(schedule.phases, phases, strict=True))
    assert schedule.transitions == count_transitions(phases, schedule.row_blocks)
    runs = [
        simulate(workload, tiles, s, target, toy_profile(), cycles_per_mac=case["serial"])
        for s in (schedule, replace(schedule, phases=phases))
    ]
    return schedule, tiles, (runs[0], runs[1])


@settings(max_examples=40, deadline=None)
@given(cases)
def test_groups_at_once_are_the_phases_one_by_one(case: dict) -> None:
    schedule, _, (quick, slow) = _made(case)
    assert isinstance(quick.segments, SegmentTable) and not isinstance(slow.segments, SegmentTable)
    _same_cost(quick.total, slow.total)
    for ours, theirs in zip(quick.layers, slow.layers, strict=True):
        _same_cost(ours.cost, theirs.cost)
        assert _without_cost(ours) == _without_cost(theirs)
    assert len(quick.segments) == len(slow.segments)
    for ours, theirs in zip(quick.segments, slow.segments, strict=True):
        for field in fields(Segment):
            mine, other = getattr(ours, field.name), getattr(theirs, field.name)
            assert mine == (pytest.approx(other, rel=CLOSE, abs=0) if isinstance(mine, float) else other), field.name
    same = ("system", "workload", "phase", "target", "policy", "tokens", "macs", "peak_macs_per_s", "dram_bytes")
    assert all(getattr(quick, name) == getattr(slow, name) for name in (*same, "notes", "layer_names"))
    assert quick.total.transitions == schedule.transitions


def _same_cost(ours: Cost, theirs: Cost) -> None:
    assert dict(ours.time_s) == pytest.approx(dict(theirs.time_s), rel=CLOSE, abs=0)
    assert dict(ours.energy_j) == pytest.approx(dict(theirs.energy_j), rel=CLOSE, abs=0)
    assert (ours.cycles, ours.transitions) == (theirs.cycles, theirs.transitions)


def _without_cost(layer: LayerCost) -> LayerCost:
    return replace(layer, cost=Cost({}, {}, 0, 0))


def test_cost_follows_the_groups_that_differ_and_not_rows_or_panels() -> None:
    """Forty layers alike: as many orders and times as kinds of groups, each entered from two clocks at most."""
    for m in (1, 64, 4096, 262_144):
        workload = tiny_workload(m, 40, attention=True)
        first = random_tiles(tiny_workload(m, 1), 0)
        names = [gemm.layer for gemm in workload.gemms if gemm.weight_stationary]
        tiles = {name: replace(first["0." + name.split(".")[1]], layer=name) for name in names}
        schedule = plan(workload.gemms, tiles, POINTS[0], BASE, "panel", 900.0 * 64)
        run = simulate(workload, tiles, schedule, toy_target(), toy_profile())
        assert isinstance(schedule.phases, PhaseTable) and isinstance(run.segments, SegmentTable)
        assert len(schedule.phases.groups) == 40 * 3
        assert len({id(item.order) for item in schedule.phases.groups}) <= 3 * 4
        assert len({id(placed.times) for placed in run.segments.groups}) <= 3 * 4 * 2


def test_a_table_and_its_list_draw_one_timeline() -> None:
    workload = tiny_workload(300, 2, attention=True)
    tiles = random_tiles(workload, 3)
    schedule = plan(workload.gemms, tiles, POINTS[0], BASE, "serpentine", 20_000.0)
    assert max(schedule.row_blocks.values()) > 1
    quick, slow = (
        timeline(simulate(workload, tiles, s, toy_target(), toy_profile()))
        for s in (schedule, replace(schedule, phases=tuple(schedule.phases)))
    )
    assert [(e.track, e.name, e.tiles, e.bound) for e in quick.events] == [
        (e.track, e.name, e.tiles, e.bound) for e in slow.events
    ]
    for name in ("start_s", "duration_s"):
        ours, theirs = ([getattr(event, name) for event in line.events] for line in (quick, slow))
        np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=1e-18)


def test_a_damaged_table_is_refused_by_name() -> None:
    workload = tiny_workload()
    tiles = random_tiles(workload, 0)
    schedule = plan(workload.gemms, tiles, POINTS[0], BASE)
    assert isinstance(schedule.phases, PhaseTable)
    item = schedule.phases.groups[0]
    assert item.order.phase_of[0] is not None
    holes = item.order.phase_of[0].copy()
    holes[1, 2] = -1
    order = replace(item.order, phase_of=(holes, *item.order.phase_of[1:]))
    table = replace(schedule.phases, groups=(replace(item, order=order), *schedule.phases.groups[1:]))
    with pytest.raises(InputError, match=r"^every tile of 0.q must run exactly once, not 0 times \(tile 1, 2\)$"):
        simulate(workload, tiles, replace(schedule, phases=table), toy_target(), toy_profile())
    fewer = replace(schedule.phases, groups=schedule.phases.groups[:-1])
    with pytest.raises(InputError, match=r"^every tile of 1.o must run exactly once, not 0 times \(tile 0, 0\)$"):
        simulate(workload, tiles, replace(schedule, phases=fewer), toy_target(), toy_profile())
