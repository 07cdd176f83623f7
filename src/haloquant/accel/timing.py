"""How long one step takes, and which resource made it so."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from .cycles import run_cycles
from .layer import LayerWork
from .memory import Traffic
from .steps import Lane, Step
from .target import Target


@dataclass(frozen=True, slots=True)
class StepTime:
    """What each resource needs alone; arrays by lane. `bound` names the longest."""

    lane_cycles: tuple[int, ...]
    lane_s: tuple[float, ...]
    dram_s: float
    sram_s: float
    spmv_s: float

    @property
    def compute_s(self) -> float:
        """The slowest lane."""
        return max(self.lane_s)

    @property
    def busy_s(self) -> float:
        """The longest of the resources' times."""
        return max(self.compute_s, self.dram_s, self.sram_s, self.spmv_s)

    @property
    def bound(self) -> str:
        """The resource that takes longest; the arrays where there is a tie."""
        times = {"compute": self.compute_s, "dram": self.dram_s, "sram": self.sram_s, "spmv": self.spmv_s}
        return max(times, key=lambda name: times[name])


def step_time(step: Step, works: Sequence[LayerWork], moves: Sequence[Traffic], target: Target) -> StepTime:
    """Return the time of one step (formulas: docs/stages/accelerators.md)."""
    cycles = tuple(lane_cycles(lane, works, step.blocks, target) for lane in step.lanes)
    seconds = tuple(count / lane.point.frequency_hz for count, lane in zip(cycles, step.lanes, strict=True))
    dram = sum(piece.share * moves[piece.layer].dram for piece in step.pieces)
    sram = sum(piece.share * moves[piece.layer].sram for piece in step.pieces)
    sparse = sum(piece.share * works[piece.layer].nnz * works[piece.layer].gemm.m for piece in step.pieces)
    return StepTime(
        cycles,
        seconds,
        dram / target.dram.stream_b_per_s,
        sram / target.sram.bandwidth_b_per_s,
        sparse / (target.spmv.lanes * target.spmv.point.frequency_hz) if sparse else 0.0,
    )


def lane_cycles(lane: Lane, works: Sequence[LayerWork], blocks: int, target: Target) -> int:
    """Return the cycles of a lane: its tiles shared out evenly over its arrays, per block of rows, with the drains.

    A unit that needs more than one cycle per multiply-accumulate counts as that many tiles.
    """
    array = target.array
    if not lane.pieces:
        return 0
    m = works[lane.pieces[0].layer].gemm.m  # equal over a group
    folds = sum(piece.folds * works[piece.layer].stretch for piece in lane.pieces)
    per_array = math.ceil(folds / lane.arrays - 1e-9)
    rows = -(-m // blocks)
    last = m - (blocks - 1) * rows

    end = run_cycles(array.weight_load, array.rows, array.columns, last, per_array)
    if blocks == 1:
        return end
    return (blocks - 1) * run_cycles(array.weight_load, array.rows, array.columns, rows, per_array) + end
