"""A schedule gone through phase by phase, listed in any way: what each layer is charged, and the segments in order.

The planner's own schedules take the quick way (`groups.py`), which this one is the slow twin of. It also runs islands,
several phases at once, and schedules that were written by hand.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

from haloquant.accel.billing.cycles import first_load_cycles
from haloquant.accel.billing.layer_work import LayerWork
from haloquant.accel.billing.memory_traffic import Traffic
from haloquant.accel.billing.phase_runs import Run
from haloquant.accel.billing.step_cost import PARTS, Bill, bill
from haloquant.accel.billing.steps import Step, steps
from haloquant.accel.billing.time_bounds import StepTime
from haloquant.accel.results import Segment
from haloquant.accel.target import Target
from haloquant.records import Phase


@dataclass(frozen=True)
class Walk:
    """What a pass took: seconds and joules of every layer by part (`bill.PARTS`), and the timeline."""

    parts: Float64[np.ndarray, "layer part"]
    segments: Sequence[Segment]
    cycles: int  # of the arrays; islands run at once
    transitions: int


@dataclass(frozen=True)
class Machine:
    """What every step is billed with.

    `reference_v` is the supply at which the profile's energies hold, `mean_mac_j` its energy averaged over its weight
    values, for the sparse engine. `switching` says whether the pass changes its operating point at all: only then is
    there an on-chip regulator.
    """

    target: Target
    reference_v: float
    mean_mac_j: float
    switching: bool


def walk_phases(
    phases: Sequence[tuple[Phase, tuple[Run, ...]]],
    row_blocks: Mapping[int, int],
    works: Sequence[LayerWork],
    moves: Sequence[Traffic],
    machine: Machine,
) -> Walk:
    """Return what the phases take, step by step."""
    target = machine.target
    kinds = work_kinds(works, moves)
    bills: dict[_Likeness, Bill] = {}  # equal layers make equal steps: each is worked out once
    segments: list[Segment] = []
    charged: list[int] = []
    rows: list[Float64[np.ndarray, "piece part"]] = []
    clock_s = 0.0
    for step in steps(phases, row_blocks, works, target.array.count):
        fill_cycles, fill_s = 0, 0.0
        if not segments:
            lane = next(lane for lane in step.lanes if lane.pieces)
            fill_cycles, fill_s = first_fill(works[lane.pieces[0].layer], lane.point.frequency_hz, target)
        alike = _likeness(step, kinds, fill_s)
        if alike not in bills:
            bills[alike] = bill(
                step, works, moves, target, machine.reference_v, machine.mean_mac_j, fill_s, machine.switching
            )
        made = bills[alike]
        segments += _segments(step, made.times, clock_s, fill_cycles, fill_s, target)
        clock_s = segments[-1].end_s
        charged += [piece.layer for piece in step.pieces]
        rows.append(made.parts)
    parts = np.zeros((len(works), len(PARTS)))
    np.add.at(parts, charged, np.concatenate(rows))
    at_once: dict[float, int] = {}
    for segment in segments:
        at_once[segment.start_s] = max(at_once.get(segment.start_s, 0), segment.cycles)
    return Walk(parts, tuple(segments), sum(at_once.values()), sum(segment.transitions for segment in segments))


def first_fill(work: LayerWork, frequency_hz: float, target: Target) -> tuple[int, float]:
    """Return cycles and time before the very first tile can stream: its weights from outside, then into the array."""
    cycles = first_load_cycles(target.array.weight_load, target.array.rows)
    fetch = target.dram.latency_s + work.weight_bytes / work.folds / target.dram.stream_b_per_s
    return cycles, fetch + cycles / frequency_hz


def _segments(
    step: Step, times: StepTime, start_s: float, fill_cycles: int, fill_s: float, target: Target
) -> list[Segment]:
    """One segment per lane; all of a step begin and end together."""
    return [
        Segment(
            group=step.group,
            point=lane.point,
            first_array=lane.first_array,
            arrays=lane.arrays,
            start_s=start_s,
            transition_s=step.transitions * target.transition.latency_s,
            fill_s=fill_s,
            compute_s=seconds,
            dram_s=times.dram_s,
            sram_s=times.sram_s,
            spmv_s=times.spmv_s,
            busy_s=times.busy_s,
            cycles=cycles + fill_cycles,
            tiles=sum(piece.folds for piece in lane.pieces),
            blocks=step.blocks,
            transitions=step.transitions,
            layers=tuple(sorted(piece.layer for piece in lane.pieces)),
            bound=times.bound,
        )
        for lane, cycles, seconds in zip(step.lanes, times.lane_cycles, times.lane_s, strict=True)
    ]


_Likeness = tuple[object, ...]


def work_kinds(works: Sequence[LayerWork], moves: Sequence[Traffic]) -> list[int]:
    """Return a number for each layer that layers of equal work and traffic share; the energy of tiles is left out."""
    numbers: dict[_Likeness, int] = {}
    kinds: list[int] = []
    for w, move in zip(works, moves, strict=True):
        sizes = (w.gemm.m, w.gemm.k, w.gemm.n, w.gemm.count)
        kinds.append(numbers.setdefault((sizes, w.folds, w.stretch, w.mean_j, w.nnz, move), len(numbers)))
    return kinds


def _likeness(step: Step, kinds: Sequence[int], fill_s: float) -> _Likeness:
    """All that the bill of a step follows from: steps that share it differ in nothing but the names of their layers."""
    lanes = tuple(
        (lane.point, lane.arrays, tuple((kinds[piece.layer], piece.folds, piece.tile_j) for piece in lane.pieces))
        for lane in step.lanes
    )
    return step.blocks, step.transitions, step.transition_v, fill_s, lanes
