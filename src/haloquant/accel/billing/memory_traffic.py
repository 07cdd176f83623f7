"""Bytes that a layer moves in one pass, by memory.

Half of the on-chip memory holds what is in use, half what is being fetched (double buffering). The stationary operand
is fetched once if it fits a half; else once per block of activation rows, of which there are as many as the
accumulators or the activations' own half ask for. Activations stay on the chip between layers if they fit a half.

Attention goes head by head and, within a head, by blocks of queries, whose softmax needs no other rows: where a head's
keys (or values) fit a half, its scores never leave the chip. Queries and results are of all heads, as the layers beside
them need.
"""

import math
from dataclasses import dataclass

from haloquant.accel.billing.layer_work import LayerWork
from haloquant.accel.target import Target
from haloquant.accel.workload.passes import Workload


@dataclass(frozen=True, slots=True)
class Traffic:
    """Bytes of one layer over one pass."""

    dram: float
    sram_read: float
    sram_write: float
    accumulator_read: float
    accumulator_write: float

    @property
    def sram(self) -> float:
        """All bytes through the on-chip memory's ports."""
        return self.sram_read + self.sram_write


def traffic(work: LayerWork, workload: Workload, target: Target, row_blocks: int) -> Traffic:
    """Return the bytes that a layer moves, given into how many blocks of rows the schedule cuts it."""
    gemm, half = work.gemm, target.sram.size_b / 2
    attention = not gemm.weight_stationary
    fetches = 1
    head_fits = work.weight_bytes / gemm.count <= half
    if not head_fits:
        blocks = math.ceil(work.input_bytes / gemm.count / half) if math.isfinite(half) else 1
        fetches = max(row_blocks, blocks)
    operand_on_chip = attention and workload.phase == "prefill" and work.weight_bytes <= half
    dram = 0.0 if operand_on_chip else work.weight_bytes * fetches
    if attention and workload.phase == "prefill":
        dram += work.weight_bytes  # the new keys and values are written to the cache
    for size_b, features in ((work.input_bytes, gemm.k), (work.output_bytes, gemm.n)):
        scores = attention and features == workload.context
        dram += 0.0 if size_b <= half or (scores and head_fits) else size_b
    width = 2.0 if work.floating else work.input_bytes / (gemm.m * gemm.k * gemm.count)
    rows_in = work.folds * gemm.m * min(target.array.rows, gemm.k) * width
    partial = work.folds * gemm.m * min(target.array.columns, gemm.n) * 4.0
    return Traffic(
        dram=dram,
        sram_read=rows_in + work.weight_bytes * row_blocks + work.nnz * gemm.m * width,
        sram_write=work.output_bytes + work.weight_bytes * fetches,
        accumulator_read=partial,
        accumulator_write=partial,
    )
