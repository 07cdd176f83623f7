"""Column-wise error compensation in torch: the algorithm of `quant.rounding.compensation`, in blocks of columns.

A block's targets come from one product of all errors before it with the factor. Inside a block the columns follow one
after another (`column_steps.round_columns`).
"""

import torch

from haloquant.kernels.rounding.column_steps import SparsePart, round_columns
from haloquant.kernels.rounding.factorization import BLOCK, TorchFactor
from haloquant.kernels.rounding.word_tensors import WordTensors


def compensate(
    weight: torch.Tensor,
    factor: TorchFactor,
    scale: torch.Tensor,
    classes: torch.Tensor,
    words: WordTensors,
    tile_in: int,
    sparse: SparsePart | None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Round the columns in the order of the factor; each compensates the errors of those before it.

    Args:
        weight: float32 [rows, in].
        factor: factor of the Hessian of these rows.
        scale: one scale per (row, tile), float32 [rows, across].
        classes: class of each (row, tile), int64 [rows, across].
        words: the codebooks.
        tile_in: inputs of a tile.
        sparse: sparse weights, or None; they are rounded to their own steps, and their code is that of 0.

    Returns:
        Codes, uint8 [rows, in], and errors, weight minus rounded weight, float32 [rows, in]; columns as in `weight`.
    """
    rows, inputs = weight.shape
    codes = torch.empty(weight.shape, dtype=torch.uint8, device=weight.device)
    errors = torch.empty(rows, inputs, device=weight.device)  # columns in the order of the factor
    for low in range(0, inputs, BLOCK):
        high = min(low + BLOCK, inputs)
        columns = factor.order[low:high]
        original = weight.index_select(1, columns)  # contiguous, as the kernel reads it
        target = original + errors[:, :low] @ factor.unit[:low, low:high] if low else original
        block = factor.unit[low:high, low:high].contiguous()
        some = None if sparse is None else sparse.columns(columns)
        codes[:, columns], errors[:, low:high] = round_columns(
            original, target, block, columns // tile_in, scale, classes, words, some
        )
    return codes, errors[:, torch.argsort(factor.order)]
