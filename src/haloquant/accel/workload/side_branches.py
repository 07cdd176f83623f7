"""Low-rank side branches as products of their own: y = Q x + A (B x) takes B x and A (B x) beside Q x.

The factors are float16, so the array multiplies them in floating point and reads 16 bits a factor. Both products are in
the dependency group of their layer, whose resources they share; the wait of A for B x is left out.
"""

from collections.abc import Mapping
from dataclasses import replace

from haloquant.accel.workload.prefill_decode import Workload
from haloquant.records import Gemm, LayerTiles


def with_branches(
    workload: Workload, layer_tiles: Mapping[str, LayerTiles]
) -> tuple[Workload, Mapping[str, LayerTiles]]:
    """Return the workload with two more products for each layer that has a branch, and the tiles without branches.

    A branch of rank r costs r (in + out) multiply-accumulates per token, and as many float16 numbers of memory.

    Args:
        workload: The pass.
        layer_tiles: The tiles of every quantized layer.
    """
    if not any(tiles.branch_rank for tiles in layer_tiles.values()):
        return workload, layer_tiles
    gemms: list[Gemm] = []
    for gemm in workload.gemms:
        gemms.append(gemm)
        tiles = layer_tiles.get(gemm.layer)
        if tiles is not None and tiles.branch_rank:
            gemms.append(replace(gemm, layer=f"{gemm.layer}.branch_in", n=tiles.branch_rank))
            gemms.append(replace(gemm, layer=f"{gemm.layer}.branch_out", k=tiles.branch_rank))
    plain = {
        name: replace(tiles, bits=replace(tiles.bits, branches=0), branch_rank=0) for name, tiles in layer_tiles.items()
    }
    return replace(workload, gemms=tuple(gemms)), plain
