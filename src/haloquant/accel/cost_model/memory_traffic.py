"""Bytes that a layer moves in one pass, by memory.

Half of the on-chip memory holds the data in use, the other half the data being fetched (double buffering). The
stationary operand is fetched once if it fits a half, else once per block of activation rows. The number of blocks is
the larger of what the accumulators need and what the activations' half needs. Activations stay on the chip between
layers if they fit a half.

Attention runs head by head and, within a head, by blocks of queries, whose softmax needs no other rows. Where the keys
(or values) of one head fit a half, its scores never leave the chip. Queries and results are stored for all heads at
once, because the layers before and after need all heads.
"""

import math
from dataclasses import dataclass

from haloquant.accel.cost_model.layer_work import LayerWork
from haloquant.accel.target import Target
from haloquant.accel.workload.prefill_decode import SCORES, Workload


@dataclass(frozen=True, slots=True)
class MemoryTraffic:
    """Bytes that one layer moves in one pass, by memory and direction."""

    dram: float
    sram_read: float
    sram_write: float
    accumulator_read: float
    accumulator_write: float

    @property
    def sram(self) -> float:
        """Bytes read and written on the on-chip memory."""
        return self.sram_read + self.sram_write


def layer_traffic(work: LayerWork, workload: Workload, target: Target, row_blocks: int) -> MemoryTraffic:
    """Return the bytes that a layer moves in one pass if the schedule cuts it into `row_blocks` blocks of rows."""
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
    scores_out = gemm.layer.endswith(f".{SCORES}")  # else attention reads them: the product with the values
    for size_b, output in ((work.input_bytes, False), (work.output_bytes, True)):
        scores = attention and output == scores_out
        dram += 0.0 if size_b <= half or (scores and head_fits) else size_b
    width = 2.0 if work.floating else work.input_bytes / (gemm.m * gemm.k * gemm.count)
    rows_in = work.folds * gemm.m * min(target.array.rows, gemm.k) * width
    partial = work.folds * gemm.m * min(target.array.columns, gemm.n) * 4.0
    return MemoryTraffic(
        dram=dram,
        sram_read=rows_in + work.weight_bytes * row_blocks + work.nnz * gemm.m * width,
        sram_write=work.output_bytes + work.weight_bytes * fetches,
        accumulator_read=partial,
        accumulator_write=partial,
    )
