"""Cost of a pass, phase by phase: the general path, for any list of phases.

`simulation.simulate` takes this path for islands (several phases at the same time) and for schedules written by hand.
It also takes this path if a planner's table does not cover the workload or has a clock that is too fast. The checks of
this path then name the error. A valid `PhaseTable` takes the fast path, `group_cost`. Tests compare the two.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

from haloquant.accel.cost_model.cycles import first_load_cycles
from haloquant.accel.cost_model.layer_work import LayerWork
from haloquant.accel.cost_model.memory_traffic import MemoryTraffic
from haloquant.accel.cost_model.schedule_coverage import FlatTileRun
from haloquant.accel.cost_model.schedule_steps import Step, steps_of
from haloquant.accel.cost_model.step_cost import COST_COLUMNS, CostModel, StepCost, cost_of_step
from haloquant.accel.cost_model.time_bounds import StepTime
from haloquant.accel.results import Segment
from haloquant.accel.target import Target
from haloquant.records import Phase


@dataclass(frozen=True)
class PassCost:
    """Cost of a pass: a row of `step_cost.COST_COLUMNS` for every layer, and the timeline."""

    costs: Float64[np.ndarray, "layer cost"]
    segments: Sequence[Segment]
    cycles: int  # cycles of the arrays; of islands that run at the same time, the longest counts
    transitions: int


def cost_of_phases(
    phases: Sequence[tuple[Phase, tuple[FlatTileRun, ...]]],
    row_blocks: Mapping[int, int],
    works: Sequence[LayerWork],
    traffics: Sequence[MemoryTraffic],
    model: CostModel,
) -> PassCost:
    """Return the cost of a list of phases, step by step. `works` and `traffics` hold one entry per layer."""
    target = model.target
    kinds = layer_kinds(works, traffics)
    known: dict[_CostKey, StepCost] = {}  # steps with equal keys cost the same
    segments: list[Segment] = []
    charged: list[int] = []
    rows: list[Float64[np.ndarray, "layer_part cost"]] = []
    clock_s = 0.0
    for step in steps_of(phases, row_blocks, works, target.array.count):
        fill_cycles, fill_s = 0, 0.0
        if not segments:
            first = next(island for island in step.islands if island.parts)
            fill_cycles, fill_s = startup_latency(works[first.parts[0].layer], first.point.frequency_hz, target)
        key = _cost_key(step, kinds, fill_s)
        if key not in known:
            known[key] = cost_of_step(step, works, traffics, model, fill_s)
        cost = known[key]
        segments += _segments(step, cost.times, clock_s, fill_cycles, fill_s, target)
        clock_s = segments[-1].end_s
        charged += [part.layer for part in step.parts]
        rows.append(cost.costs)
    costs = np.zeros((len(works), len(COST_COLUMNS)))
    np.add.at(costs, charged, np.concatenate(rows))
    at_once: dict[float, int] = {}
    for segment in segments:
        at_once[segment.start_s] = max(at_once.get(segment.start_s, 0), segment.cycles)
    return PassCost(costs, tuple(segments), sum(at_once.values()), sum(segment.transitions for segment in segments))


def startup_latency(work: LayerWork, frequency_hz: float, target: Target) -> tuple[int, float]:
    """Return cycles and time in s before the first tile of a pass can stream.

    Its weights are fetched from DRAM and then loaded into the array; nothing overlaps with that.
    """
    cycles = first_load_cycles(target.array.weight_load, target.array.rows)
    fetch = target.dram.latency_s + work.weight_bytes / work.folds / target.dram.stream_b_per_s
    return cycles, fetch + cycles / frequency_hz


def _segments(
    step: Step, times: StepTime, start_s: float, fill_cycles: int, fill_s: float, target: Target
) -> list[Segment]:
    """One segment per island. All islands of a step begin and end together."""
    return [
        Segment(
            group=step.group,
            point=island.point,
            first_array=island.first_array,
            arrays=island.arrays,
            start_s=start_s,
            transition_s=step.transitions * target.transition.latency_s,
            fill_s=fill_s,
            compute_s=seconds,
            dram_s=times.dram_s,
            sram_s=times.sram_s,
            spmv_s=times.spmv_s,
            busy_s=times.busy_s,
            cycles=cycles + fill_cycles,
            tiles=sum(part.folds for part in island.parts),
            blocks=step.blocks,
            transitions=step.transitions,
            layers=tuple(sorted(part.layer for part in island.parts)),
            bound=times.bound,
        )
        for island, cycles, seconds in zip(step.islands, times.island_cycles, times.island_s, strict=True)
    ]


_CostKey = tuple[object, ...]


def layer_kinds(works: Sequence[LayerWork], traffics: Sequence[MemoryTraffic]) -> list[int]:
    """Return a number for each layer. Layers with equal work and traffic share it; tile energies may differ."""
    numbers: dict[_CostKey, int] = {}
    kinds: list[int] = []
    for w, traffic in zip(works, traffics, strict=True):
        sizes = (w.gemm.m, w.gemm.k, w.gemm.n, w.gemm.count)
        key = (sizes, w.folds, w.cycles_per_mac, w.mean_tile_j, w.nnz, traffic)
        kinds.append(numbers.setdefault(key, len(numbers)))
    return kinds


def _cost_key(step: Step, kinds: Sequence[int], fill_s: float) -> _CostKey:
    """Everything that the cost of a step depends on. Steps with equal keys differ only in the names of their layers."""
    islands = tuple(
        (island.point, island.arrays, tuple((kinds[part.layer], part.folds, part.tile_j) for part in island.parts))
        for island in step.islands
    )
    return step.blocks, step.transitions, step.transition_v, fill_s, islands
