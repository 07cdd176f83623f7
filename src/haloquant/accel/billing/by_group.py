"""A planned schedule gone through group by group: all steps of a group at once, and groups alike only once.

What a group costs follows from its order (which panels share), its layers' work and the clock it is entered at. So the
cost of a pass grows with the groups that differ and with their tiles, not with rows or panels. The same sums stand
step by step in `bill.py`, `timing.py` and `energy.py`, through which `walk.py` goes slowly.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int64

from haloquant.accel.billing.by_phase import Machine, Walk, first_fill, work_kinds
from haloquant.accel.billing.cycles import run_cycles
from haloquant.accel.billing.energy import COMPONENTS
from haloquant.accel.billing.layer_work import LayerWork
from haloquant.accel.billing.memory_traffic import Traffic
from haloquant.accel.billing.step_cost import PARTS
from haloquant.accel.results import BOUNDS, TIME_PARTS
from haloquant.accel.target import Target
from haloquant.accel.timeline.segments import GroupTimes, PlacedGroup, SegmentTable
from haloquant.records.phases import GroupOrder, OrderedGroup, PhaseTable

_NOWHERE = -1  # the level before the first group


@dataclass(frozen=True)
class _Group:
    """A group's times, the bill of each of its layers, and the level at which it ends."""

    times: GroupTimes
    parts: Float64[np.ndarray, "layer part"]
    end: int


def walk_table(
    table: PhaseTable,
    row_blocks: Mapping[int, int],
    works: Sequence[LayerWork],
    moves: Sequence[Traffic],
    machine: Machine,
) -> Walk:
    """Return what a table of phases that covers its workload (`covers.py`) takes."""
    kinds = work_kinds(works, moves)
    known: dict[tuple[object, ...], _Group] = {}
    placed: list[PlacedGroup] = []
    parts = np.zeros((len(works), len(PARTS)))
    last, clock_s, cycles, transitions = _NOWHERE, 0.0, 0, 0
    for item in table.groups:
        blocks = row_blocks.get(item.group, 1)
        own = slice(item.first, item.first + len(item.order.whole))
        alike = (id(item.order), blocks, last, *kinds[own], *(id(work.tile_j) for work in works[own]))
        if alike not in known:
            known[alike] = _group(item, table, blocks, last, works[own], moves[own], machine)
        made = known[alike]
        parts[own] = made.parts
        placed.append(PlacedGroup(item.group, item.first, blocks, clock_s, made.times))
        clock_s += made.times.duration_s
        cycles += int(made.times.cycles.sum())
        transitions += int(made.times.transitions.sum())
        last = made.end
    return Walk(parts, SegmentTable(table.points, machine.target.array.count, tuple(placed)), cycles, transitions)


def _group(
    item: OrderedGroup,
    table: PhaseTable,
    blocks: int,
    last: int,
    works: Sequence[LayerWork],
    moves: Sequence[Traffic],
    machine: Machine,
) -> _Group:
    """Work out one group that is entered from the level `last`."""
    target, phases = machine.target, item.order.level
    # Neighbours at one point are one step: the array runs on without draining.
    starts = np.concatenate([[0], np.flatnonzero(np.diff(phases)) + 1])
    level = phases[starts]
    hertz = np.array([point.frequency_hz for point in table.points])[level]
    volts = np.array([point.voltage_v for point in table.points])[level]
    folds, tile_j = (np.add.reduceat(part, starts, axis=1) for part in _work_of_phases(item.order, works))

    # A group in blocks of rows runs forth and back: a change inside it is crossed once per block.
    switches = np.full(len(level), blocks)
    switches[0] = last not in (_NOWHERE, level[0])
    transition_s = switches * target.transition.latency_s
    before = table.points[last].voltage_v if last != _NOWHERE else volts[0]
    switch_v = np.maximum(volts, np.concatenate([[before], volts[:-1]]))
    fill_s, fill_cycles = np.zeros(len(level)), 0
    if last == _NOWHERE:
        fill_cycles, fill_s[0] = first_fill(works[_first_layer(item.order)], float(hertz[0]), target)

    share = folds / _column(work.folds for work in works)
    work = folds * _column(work.stretch for work in works)
    cycles = _array_cycles(work.sum(axis=0), works[0].gemm.m, blocks, target)
    sparse = (share * _column(work.nnz * work.gemm.m for work in works)).sum(axis=0)
    needs = np.stack([
        cycles / hertz,
        (share * _column(move.dram for move in moves)).sum(axis=0) / target.dram.stream_b_per_s,
        (share * _column(move.sram for move in moves)).sum(axis=0) / target.sram.bandwidth_b_per_s,
        sparse / (target.spmv.lanes * target.spmv.point.frequency_hz),
    ])  # fmt: skip
    bound = needs.argmax(axis=0)
    busy_s = needs.max(axis=0)

    weight = work / work.sum(axis=0)
    energy = _switching_j(share, tile_j, volts, works, moves, machine)
    scaled_w = target.static.array_w * target.array.count / target.base.voltage_v
    running_w = scaled_w * volts + target.static.rest_w
    leakage_j = running_w * (busy_s + fill_s) + (scaled_w * switch_v + target.static.rest_w) * transition_s
    regulated = 1.0 / target.transition.regulator_efficiency - 1.0 if machine.switching else 0.0
    loss_j = (energy["mac"] + energy["accumulator"] + weight * scaled_w * volts * busy_s) * regulated
    energy["leakage"] = weight * leakage_j
    energy["dvfs"] = weight * switches * target.transition.energy_j + loss_j
    time = {name: np.where(bound == number, weight * busy_s, 0.0) for number, name in enumerate(BOUNDS)}
    time |= {"fill": weight * fill_s, "transition": weight * transition_s}
    parts = [time[name] for name in TIME_PARTS] + [energy[name] for name in COMPONENTS]

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
        times, np.stack([part.sum(axis=1) for part in parts], axis=1), int(level[0 if blocks % 2 == 0 else -1])
    )


def _column(figures: Iterable[float]) -> Float64[np.ndarray, "layer 1"]:
    """A figure of each of a group's layers, to multiply [layer, step] with."""
    return np.array(list(figures), np.float64)[:, None]


def _first_layer(order: GroupOrder) -> int:
    """The layer whose tile is the group's very first; layers that run whole come after those with tiles."""
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
            folds[layer, whole], tile_j[layer, whole] = work.folds, work.mean_j * work.folds
        else:
            folds[layer] = np.bincount(phase_of.ravel(), minlength=phases)
            tile_j[layer] = np.bincount(phase_of.ravel(), work.tile_j.ravel(), phases)
    return folds, tile_j


def _array_cycles(
    work: Float64[np.ndarray, " step"], m: int, blocks: int, target: Target
) -> Int64[np.ndarray, " step"]:
    """Cycles of steps with so many tiles each (`timing.lane_cycles`): the closed forms are straight lines in them."""
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
    moves: Sequence[Traffic],
    machine: Machine,
) -> dict[str, Float64[np.ndarray, "layer step"]]:
    """Switching energy by component (`energy.piece_energy`)."""
    target, reference_v = machine.target, machine.reference_v
    sram, accumulator = target.sram, target.accumulator
    spmv_j = machine.mean_mac_j * (target.spmv.point.voltage_v / reference_v) ** 2
    stored_j = _column(8 * (m.sram_read * sram.read_j_per_bit + m.sram_write * sram.write_j_per_bit) for m in moves)
    summed_j = _column(
        8 * (m.accumulator_read * accumulator.read_j_per_bit + m.accumulator_write * accumulator.write_j_per_bit)
        for m in moves
    )
    return {
        "mac": _column(work.gemm.m for work in works) * tile_j * (volts / reference_v) ** 2,
        "spmv": share * _column(work.nnz * work.gemm.m * spmv_j for work in works),
        "sram": share * stored_j,
        "accumulator": share * summed_j * (volts / target.base.voltage_v) ** 2,
        "dram": share * _column(8 * move.dram * target.dram.energy_j_per_bit for move in moves),
    }
