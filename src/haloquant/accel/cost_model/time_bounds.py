"""Time of one step: the longest of four bounds, arrays (compute), DRAM, SRAM and the sparse engine (SpMV).

The four resources are double-buffered against each other, so they work at the same time and the slowest one decides.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from haloquant.accel.cost_model.cycles import run_cycles
from haloquant.accel.cost_model.layer_work import LayerWork
from haloquant.accel.cost_model.memory_traffic import MemoryTraffic
from haloquant.accel.cost_model.schedule_steps import Island, Step
from haloquant.accel.target import Target


@dataclass(frozen=True, slots=True)
class StepTime:
    """Time in s that each resource would take alone. `bound` names the longest; `busy_s` is its time.

    `island_cycles` and `island_s` are the arrays' cycles and time, island by island.
    """

    island_cycles: tuple[int, ...]
    island_s: tuple[float, ...]
    dram_s: float
    sram_s: float
    spmv_s: float
    bound: str
    busy_s: float


def step_time(step: Step, works: Sequence[LayerWork], traffics: Sequence[MemoryTraffic], target: Target) -> StepTime:
    """Return the time of one step. In a tie the arrays are the bound. Formulas: docs/stages/accelerators.md."""
    cycles = tuple(island_cycles(island, works, step.blocks, target) for island in step.islands)
    seconds = tuple(count / island.point.frequency_hz for count, island in zip(cycles, step.islands, strict=True))
    parts = sorted(step.parts, key=lambda part: part.layer)
    dram = sum(part.share * traffics[part.layer].dram for part in parts)
    sram = sum(part.share * traffics[part.layer].sram for part in parts)
    sparse = sum(part.share * (works[part.layer].nnz * works[part.layer].gemm.m) for part in parts)
    needs = {
        "compute": max(seconds),
        "dram": dram / target.dram.stream_b_per_s,
        "sram": sram / target.sram.bandwidth_b_per_s,
        "spmv": sparse / (target.spmv.lanes * target.spmv.point.frequency_hz) if sparse else 0.0,
    }
    bound = max(needs, key=lambda name: needs[name])
    return StepTime(cycles, seconds, needs["dram"], needs["sram"], needs["spmv"], bound, needs[bound])


def island_cycles(island: Island, works: Sequence[LayerWork], blocks: int, target: Target) -> int:
    """Return the cycles of an island in one step, drains included.

    The tiles are divided evenly among the island's arrays, once per block of rows. A tile whose units need c cycles
    per multiply-accumulate counts as c tiles.
    """
    array = target.array
    if not island.parts:
        return 0
    m = works[island.parts[0].layer].gemm.m  # equal over a group
    parts = sorted(island.parts, key=lambda part: part.layer)
    folds = sum(part.folds * works[part.layer].cycles_per_mac for part in parts)
    per_array = math.ceil(folds / island.arrays - 1e-9)
    rows = -(-m // blocks)
    last = m - (blocks - 1) * rows

    end = run_cycles(array.weight_load, array.rows, array.columns, last, per_array)
    if blocks == 1:
        return end
    return (blocks - 1) * run_cycles(array.weight_load, array.rows, array.columns, rows, per_array) + end
