"""Coordinate descent on scales, codes and sparse values in torch: the algorithm of `quant.rounding.refinement`."""

from collections.abc import Sequence

import torch

from haloquant.kernels.rounding.column_steps import SparsePart, move_codes
from haloquant.kernels.rounding.word_tensors import WordTensors
from haloquant.quant.float16 import LARGEST
from haloquant.quant.rounding.refinement import ROUNDS, WIDTH


def refine(
    weight: torch.Tensor,
    values: torch.Tensor,
    codes: torch.Tensor,
    scale: torch.Tensor,
    classes: torch.Tensor,
    words: WordTensors,
    sparse: SparsePart | None,
    hessian: torch.Tensor,
    extra: float,
    visited: Sequence[slice],
    tile_in: int,
) -> None:
    """Visit tile columns once; `values`, `codes` and `scale` are changed, and the loss falls or stays.

    Args:
        weight: float32 [rows, in].
        values: the rounded weights, float32 [rows, in].
        codes: uint8 [rows, in].
        scale: float32 [rows, across].
        classes: int64 [rows, across].
        words: the codebooks.
        sparse: sparse weights, None if there are none.
        hessian: (2/T) X X^T of these rows, float32 [in, in].
        extra: added to the Hessian's diagonal.
        visited: inputs of the tile columns, ascending.
        tile_in: inputs of a tile.
    """
    together = max(1, WIDTH // tile_in)
    for first in range(0, len(visited), together):
        group = visited[first : first + together]
        columns = torch.cat([torch.arange(part.start, part.stop) for part in group]).to(weight.device)
        curvature = hessian[:, columns]
        errors = weight - values
        slope = errors @ curvature + extra * errors[:, columns]
        del errors
        low = 0
        for part in group:
            high, a = low + part.stop - part.start, part.start // tile_in
            local = curvature[part, low:high].clone()
            local.diagonal().add_(extra)
            before = values[:, part].clone()
            own = _Tile(slope[:, low:high].contiguous(), local, before.clone(), codes[:, part].contiguous())
            own.visit(scale[:, a].clone(), classes[:, a].contiguous(), words, sparse and sparse.columns(part))
            values[:, part], codes[:, part], scale[:, a] = own.values, own.codes, own.scale
            if high < columns.shape[0]:  # update the slopes of the tiles that this group visits next
                slope[:, high:] += (before - own.values) @ curvature[part, high:]
            low = high


class _Tile:
    """One column of tiles while it is visited: slope (w - q) H, damped Hessian, rounded weights and codes."""

    def __init__(self, slope: torch.Tensor, hessian: torch.Tensor, values: torch.Tensor, codes: torch.Tensor) -> None:
        self.slope, self.hessian, self.values, self.codes = slope, hessian, values, codes

    def visit(self, scale: torch.Tensor, classes: torch.Tensor, words: WordTensors, sparse: SparsePart | None) -> None:
        """Move scale, then codes, in rounds; a row in which no code moved has ended."""
        self.scale, active = scale, torch.ones_like(scale, dtype=torch.bool)
        for _ in range(ROUNDS):
            self._refit(active, classes, words, sparse)
            active = move_codes(
                self.slope, self.hessian, self.scale, classes, words, sparse, active, self.values, self.codes
            )

    def _refit(
        self, active: torch.Tensor, classes: torch.Tensor, words: WordTensors, sparse: SparsePart | None
    ) -> None:
        """Move the scales to their least-squares values where float16 leaves a gain."""
        chosen = words.words[classes[:, None], self.codes.long()]
        if sparse is not None:
            chosen = chosen.masked_fill(sparse.kept > 0, 0.0)
        pull, change = (chosen * self.slope).sum(1), chosen @ self.hessian
        stiffness = (chosen * change).sum(1)
        wanted = (self.scale + pull / stiffness).clamp(-LARGEST, LARGEST).half().float()
        delta = wanted - self.scale
        goes = active & (self.scale != 0) & (stiffness > 0) & (wanted != 0)
        goes &= delta * (delta * stiffness - 2.0 * pull) < 0
        self.scale = torch.where(goes, wanted, self.scale)
        self.slope -= torch.where(goes, delta, 0.0)[:, None] * change
        dense = goes[:, None] if sparse is None else goes[:, None] & (sparse.kept == 0)
        self.values = torch.where(dense, chosen * self.scale[:, None], self.values)
