"""The product with a packed layer as a custom operator of torch, so that `torch.compile` does not trace into it.

Without compilation, models call `dispatch.linear` itself, since the operator costs about 20 us per call.
"""

from collections.abc import Sequence
from typing import Any

import torch

from haloquant.kernels.dispatch import linear, rounded_linear
from haloquant.kernels.layer_tensors import PackedLayer, PackedSparse
from haloquant.records import TileGrid


@torch.library.custom_op("haloquant::packed_linear", mutates_args=())
def _packed_linear(
    x: torch.Tensor,
    dense: Sequence[torch.Tensor],
    sparse: Sequence[torch.Tensor],
    sizes: Sequence[int],
    tiles: Sequence[int],
    offset: Sequence[torch.Tensor],
    rounded: bool,
) -> torch.Tensor:
    packed, scale, classes, offsets, table, words, counts = dense
    tile_out, tile_in, exponent = tiles
    grid = TileGrid(scale.shape[0], x.shape[-1], tile_out, tile_in)
    kept = PackedSparse(*sparse) if sparse else None
    layer = PackedLayer(
        grid,
        packed,
        scale,
        classes,
        offsets,
        table,
        words,
        tuple(sizes),
        counts,
        kept,
        exponent,
        offset[0] if offset else None,
    )
    return (rounded_linear if rounded else linear)(x, layer)


@_packed_linear.register_fake
def _shape_of(
    x: torch.Tensor,
    dense: Sequence[torch.Tensor],
    sparse: Sequence[torch.Tensor],
    sizes: Any,  # numbers, or symbols of numbers while the graph is traced
    tiles: Any,
    offset: Sequence[torch.Tensor],
    rounded: bool,
) -> torch.Tensor:
    return x.new_empty((*x.shape[:-1], dense[1].shape[0]))


def compiled_linear(x: torch.Tensor, layer: PackedLayer, rounded: bool = False) -> torch.Tensor:
    """Return x W^T as `dispatch.linear` or `dispatch.rounded_linear` does, for use inside `torch.compile`."""
    dense = [layer.packed, layer.scale, layer.classes, layer.offsets, layer.table, layer.words, layer.counts]
    kept = layer.sparse
    sparse = [] if kept is None else [kept.row_ptr, kept.col, kept.value, kept.scale]
    tiles = [layer.grid.tile_out, layer.grid.tile_in, layer.exponent]
    offset = [] if layer.tile_offset is None else [layer.tile_offset]
    return _packed_linear(x, dense, sparse, list(layer.sizes), tiles, offset, rounded)
