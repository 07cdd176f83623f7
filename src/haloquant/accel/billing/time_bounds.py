"""How long one step takes, and which resource made it so."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from haloquant.accel.billing.cycles import run_cycles
from haloquant.accel.billing.layer_work import LayerWork
from haloquant.accel.billing.memory_traffic import Traffic
from haloquant.accel.billing.steps import Lane, Step
from haloquant.accel.target import Target


@dataclass(frozen=True, slots=True)
class StepTime:
    """What each resource needs alone; arrays by lane. `bound` names the longest, `busy_s` is how long that is."""

    lane_cycles: tuple[int, ...]
    lane_s: tuple[float, ...]
    dram_s: float
    sram_s: float
    spmv_s: float
    bound: str
    busy_s: float


def step_time(step: Step, works: Sequence[LayerWork], moves: Sequence[Traffic], target: Target) -> StepTime:
    """Return the time of one step (formulas: docs/stages/accelerators.md). The arrays bound it where there is a tie."""
    cycles = tuple(lane_cycles(lane, works, step.blocks, target) for lane in step.lanes)
    seconds = tuple(count / lane.point.frequency_hz for count, lane in zip(cycles, step.lanes, strict=True))
    pieces = sorted(step.pieces, key=lambda piece: piece.layer)
    dram = sum(piece.share * moves[piece.layer].dram for piece in pieces)
    sram = sum(piece.share * moves[piece.layer].sram for piece in pieces)
    sparse = sum(piece.share * (works[piece.layer].nnz * works[piece.layer].gemm.m) for piece in pieces)
    needs = {
        "compute": max(seconds),
        "dram": dram / target.dram.stream_b_per_s,
        "sram": sram / target.sram.bandwidth_b_per_s,
        "spmv": sparse / (target.spmv.lanes * target.spmv.point.frequency_hz) if sparse else 0.0,
    }
    bound = max(needs, key=lambda name: needs[name])
    return StepTime(cycles, seconds, needs["dram"], needs["sram"], needs["spmv"], bound, needs[bound])


def lane_cycles(lane: Lane, works: Sequence[LayerWork], blocks: int, target: Target) -> int:
    """Return the cycles of a lane: its tiles shared out evenly over its arrays, per block of rows, with the drains.

    A unit that needs more than one cycle per multiply-accumulate counts as that many tiles.
    """
    array = target.array
    if not lane.pieces:
        return 0
    m = works[lane.pieces[0].layer].gemm.m  # equal over a group
    pieces = sorted(lane.pieces, key=lambda piece: piece.layer)
    folds = sum(piece.folds * works[piece.layer].stretch for piece in pieces)
    per_array = math.ceil(folds / lane.arrays - 1e-9)
    rows = -(-m // blocks)
    last = m - (blocks - 1) * rows

    end = run_cycles(array.weight_load, array.rows, array.columns, last, per_array)
    if blocks == 1:
        return end
    return (blocks - 1) * run_cycles(array.weight_load, array.rows, array.columns, rows, per_array) + end
