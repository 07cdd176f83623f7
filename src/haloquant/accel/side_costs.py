"""Energy of the decoder and the scaling unit of each column of an array.

The decoder converts stored codes to the pins' code. The scaling unit scales each tile's sums. Neither slows the array.
"""

from collections.abc import Mapping

from haloquant.accel.elements import FLOAT_ENERGY, Element
from haloquant.accel.workload.prefill_decode import Workload
from haloquant.records import LayerTiles, Schedule


def side_energy_j(
    workload: Workload,
    tiles: Mapping[str, LayerTiles],
    schedule: Schedule,
    element: Element,
    plain: Element,
    passes: Mapping[str, int],
) -> dict[str, float]:
    """Return the energy in J of a pass for decoding and for scaling.

    Every weight that is loaded is decoded, once for each block of rows; a decoder of a code costs one operation of the
    plain 8-bit element (assumed: a table of 16 words of a dozen bits has about as many gates). A layer with scales per
    tile scales every sum of every tile, any other layer each output once; a 16-bit floating-point multiply and add
    costs five operations of the plain element (Horowitz, ISSCC 2014). A second pass over 8-bit weights is loaded and
    scaled again.
    """
    decoded = scaled = 0.0
    for gemm in workload.gemms:
        part = tiles.get(gemm.layer)
        if part is None:
            continue
        times = passes.get(gemm.layer, 1)
        loads = schedule.row_blocks.get(gemm.group, 1)
        decoded += times * loads * gemm.k * gemm.n * gemm.count
        across = part.grid.across if part.bits.scales else 1
        scaled += times * gemm.m * gemm.n * gemm.count * across
    return {
        "decode": decoded * plain.mean_j if element.coded else 0.0,
        "rescale": scaled * FLOAT_ENERGY * plain.mean_j,
    }
