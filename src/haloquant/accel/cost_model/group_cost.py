"""Cost of a pass, group by group: the fast path, for a planner's `PhaseTable` that covers its workload.

All steps of a dependency group are computed at once as arrays, and equal groups only once. The cost of a group depends
on its order, on its layers' work and on the clock before it. So the run time of this module grows with the number of
different groups and their tiles, not with rows or panels. The formulas are those of `step_cost`, `time_bounds` and
`energy`, which `phase_cost` applies step by step. Tests check that the two paths differ by at most 1e-12 (relative).
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int64

from haloquant.accel.cost_model.cycles import run_cycles
from haloquant.accel.cost_model.energy import COMPONENTS
from haloquant.accel.cost_model.layer_work import LayerWork
from haloquant.accel.cost_model.memory_traffic import MemoryTraffic
from haloquant.accel.cost_model.phase_cost import PassCost, layer_kinds, startup_latency
from haloquant.accel.cost_model.step_cost import COST_COLUMNS, CostModel
from haloquant.accel.results import BOUNDS, TIME_PARTS
from haloquant.accel.target import Target
from haloquant.accel.timeline.segments import GroupTimes, PlacedGroup, SegmentTable
from haloquant.records.phases import GroupOrder, OrderedGroup, PhaseTable

_NO_LEVEL = -1  # before the first group


@dataclass(frozen=True)
class _Group:
    """A group's times, the cost of each of its layers, and the level at which it ends."""

    times: GroupTimes
    costs: Float64[np.ndarray, "layer cost"]
    end: int


def cost_of_groups(
    table: PhaseTable,
    row_blocks: Mapping[int, int],
    works: Sequence[LayerWork],
    traffics: Sequence[MemoryTraffic],
    model: CostModel,
) -> PassCost:
    """Return the cost of a table of phases. It must cover its workload (`schedule_coverage.covers_workload`)."""
    kinds = layer_kinds(works, traffics)
    known: dict[tuple[object, ...], _Group] = {}
    placed: list[PlacedGroup] = []
    costs = np.zeros((len(works), len(COST_COLUMNS)))
    last, clock_s, cycles, transitions = _NO_LEVEL, 0.0, 0, 0
    for item in table.groups:
        blocks = row_blocks.get(item.group, 1)
        own = slice(item.first, item.first + len(item.order.whole))
        key = (id(item.order), blocks, last, *kinds[own], *(id(work.tile_j) for work in works[own]))
        if key not in known:
            known[key] = _group(item, table, blocks, last, works[own], traffics[own], model)
        cost = known[key]
        costs[own] = cost.costs
        placed.append(PlacedGroup(item.group, item.first, blocks, clock_s, cost.times))
        clock_s += cost.times.duration_s
        cycles += int(cost.times.cycles.sum())
        transitions += int(cost.times.transitions.sum())
        last = cost.end
    return PassCost(costs, SegmentTable(table.points, model.target.array.count, tuple(placed)), cycles, transitions)


def _group(
    item: OrderedGroup,
    table: PhaseTable,
    blocks: int,
    last: int,
    works: Sequence[LayerWork],
    traffics: Sequence[MemoryTraffic],
    model: CostModel,
) -> _Group:
    """The cost of one group that follows a step at the level `last`."""
    target, phases = model.target, item.order.level
    # Neighbouring phases at one point are one step, because the array runs on without a drain.
    starts = np.concatenate([[0], np.flatnonzero(np.diff(phases)) + 1])
    level = phases[starts]
    hertz = np.array([point.frequency_hz for point in table.points])[level]
    volts = np.array([point.voltage_v for point in table.points])[level]
    folds, tile_j = (np.add.reduceat(part, starts, axis=1) for part in _work_of_phases(item.order, works))

    # A group in blocks of rows runs alternately forward and backward, so a change inside it is crossed once per block.
    switches = np.full(len(level), blocks)
    switches[0] = last not in (_NO_LEVEL, level[0])
    transition_s = switches * target.transition.latency_s
    before = table.points[last].voltage_v if last != _NO_LEVEL else volts[0]
    switch_v = np.maximum(volts, np.concatenate([[before], volts[:-1]]))
    fill_s, fill_cycles = np.zeros(len(level)), 0
    if last == _NO_LEVEL:
        fill_cycles, fill_s[0] = startup_latency(works[_first_layer(item.order)], float(hertz[0]), target)

    share = folds / _column(work.folds for work in works)
    work = folds * _column(work.cycles_per_mac for work in works)
    cycles = _array_cycles(work.sum(axis=0), works[0].gemm.m, blocks, target)
    sparse = (share * _column(work.nnz * work.gemm.m for work in works)).sum(axis=0)
    needs = np.stack([
        cycles / hertz,
        (share * _column(traffic.dram for traffic in traffics)).sum(axis=0) / target.dram.stream_b_per_s,
        (share * _column(traffic.sram for traffic in traffics)).sum(axis=0) / target.sram.bandwidth_b_per_s,
        sparse / (target.spmv.lanes * target.spmv.point.frequency_hz),
    ])  # fmt: skip
    bound = needs.argmax(axis=0)
    busy_s = needs.max(axis=0)

    weight = work / work.sum(axis=0)
    energy = _switching_j(share, tile_j, volts, works, traffics, model)
    scaled_w = target.static.array_w * target.array.count / target.base.voltage_v
    running_w = scaled_w * volts + target.static.rest_w
    leakage_j = running_w * (busy_s + fill_s) + (scaled_w * switch_v + target.static.rest_w) * transition_s
    regulated = 1.0 / target.transition.regulator_efficiency - 1.0 if model.switching else 0.0
    loss_j = (energy["mac"] + energy["accumulator"] + weight * scaled_w * volts * busy_s) * regulated
    energy["leakage"] = weight * leakage_j
    energy["dvfs"] = weight * switches * target.transition.energy_j + loss_j
    time = {name: np.where(bound == number, weight * busy_s, 0.0) for number, name in enumerate(BOUNDS)}
    time |= {"fill": weight * fill_s, "transition": weight * transition_s}
    costs = [time[name] for name in TIME_PARTS] + [energy[name] for name in COMPONENTS]

    ends = np.cumsum(transition_s + fill_s + busy_s)
    cycles[0] += fill_cycles
    times = GroupTimes(
        level=level,
        runs=folds > 0,
        begin_s=np.concatenate([[0.0], ends[:-1]]),
        transition_s=transition_s,
        fill_s=fill_s,
        compute_s=needs[0],
        dram_s=needs[1],
        sram_s=needs[2],
        spmv_s=needs[3],
        busy_s=busy_s,
        cycles=cycles,
        tiles=folds.sum(axis=0),
        transitions=switches,
        bound=bound,
        duration_s=float(ends[-1]),
    )
    return _Group(
        times, np.stack([part.sum(axis=1) for part in costs], axis=1), int(level[0 if blocks % 2 == 0 else -1])
    )


def _column(figures: Iterable[float]) -> Float64[np.ndarray, "layer 1"]:
    """One figure per layer as a column, to multiply an array [layer, step] with."""
    return np.array(list(figures), np.float64)[:, None]


def _first_layer(order: GroupOrder) -> int:
    """The layer that runs first. In a phase the layers with tile maps run before those that run whole."""
    tiled = [layer for layer, where in enumerate(order.phase_of) if where is not None and bool((where == 0).any())]
    return tiled[0] if tiled else order.whole.index(0)


def _work_of_phases(
    order: GroupOrder, works: Sequence[LayerWork]
) -> tuple[Int64[np.ndarray, "layer phase"], Float64[np.ndarray, "layer phase"]]:
    """Tiles of each layer in each phase, and their energy per activation row at the profile's corner."""
    phases = len(order.level)
    folds = np.zeros((len(works), phases), np.int64)
    tile_j = np.zeros((len(works), phases))
    for layer, (work, phase_of, whole) in enumerate(zip(works, order.phase_of, order.whole, strict=True)):
        if phase_of is None or work.tile_j is None:
            folds[layer, whole], tile_j[layer, whole] = work.folds, work.mean_tile_j * work.folds
        else:
            folds[layer] = np.bincount(phase_of.ravel(), minlength=phases)
            tile_j[layer] = np.bincount(phase_of.ravel(), work.tile_j.ravel(), phases)
    return folds, tile_j


def _array_cycles(
    work: Float64[np.ndarray, " step"], m: int, blocks: int, target: Target
) -> Int64[np.ndarray, " step"]:
    """Return the cycles of steps with `work` tiles each, as `time_bounds.island_cycles` gives them.

    `run_cycles` is linear in the number of tiles, so two values of it give all.
    """
    array = target.array
    per_array = np.ceil(work / array.count - 1e-9).astype(np.int64)
    rows = math.ceil(m / blocks)
    total = np.zeros(len(work), np.int64)
    for count, height in ((blocks - 1, rows), (1, m - (blocks - 1) * rows)):
        one, two = (run_cycles(array.weight_load, array.rows, array.columns, height, folds) for folds in (1, 2))
        total += count * (one + (per_array - 1) * (two - one))
    return total


def _switching_j(
    share: Float64[np.ndarray, "layer step"],
    tile_j: Float64[np.ndarray, "layer step"],
    volts: Float64[np.ndarray, " step"],
    works: Sequence[LayerWork],
    traffics: Sequence[MemoryTraffic],
    model: CostModel,
) -> dict[str, Float64[np.ndarray, "layer step"]]:
    """Switching energy in J by component, with the formulas of `energy.switching_energy_j`."""
    target, reference_v = model.target, model.reference_v
    sram, accumulator = target.sram, target.accumulator
    spmv_j = model.mean_mac_j * (target.spmv.point.voltage_v / reference_v) ** 2
    stored_j = _column(8 * (m.sram_read * sram.read_j_per_bit + m.sram_write * sram.write_j_per_bit) for m in traffics)
    summed_j = _column(
        8 * (m.accumulator_read * accumulator.read_j_per_bit + m.accumulator_write * accumulator.write_j_per_bit)
        for m in traffics
    )
    return {
        "mac": _column(work.gemm.m for work in works) * tile_j * (volts / reference_v) ** 2,
        "spmv": share * _column(work.nnz * work.gemm.m * spmv_j for work in works),
        "sram": share * stored_j,
        "accumulator": share * summed_j * (volts / target.base.voltage_v) ** 2,
        "dram": share * _column(8 * traffic.dram * target.dram.energy_j_per_bit for traffic in traffics),
    }
