"""The sparsity of every layer's inputs: the least total loss at a share of the multiply-accumulates.

The loss of every layer at some levels of sparsity is measured alone, with all other layers dense, and losses are added.
One level per layer is chosen so that the sum is least and the multiply-accumulates that are left are within the budget.
This is a knapsack problem with one choice per layer. `quant.budgets` solves it exactly.
"""

from collections.abc import Sequence
from typing import Literal

import numpy as np
from jaxtyping import Float64

from haloquant.errors import InputError
from haloquant.quant.budgets import Resource, least_loss_exact
from haloquant.quant.input_sparsity.scores import MOST_SPARSITY

InputAllocation = Literal["uniform", "divergence"]
LEVELS = (0.0, 0.25, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)


def levels_around(sparsity: float) -> tuple[float, ...]:
    """Return the levels that are measured for a sparsity of the whole model: the usual ones, and this one."""
    return tuple(sorted({*LEVELS, sparsity}))


def allocate_levels(
    loss: Float64[np.ndarray, "layers levels"],
    macs: Float64[np.ndarray, " layers"],
    levels: Sequence[float],
    sparsity: float,
) -> tuple[float, ...]:
    """Return the sparsity of every layer at which the summed loss is least.

    Args:
        loss: Loss of every layer at every level.
        macs: Multiply-accumulates of every layer for a token.
        levels: Shares of inputs that are left out.
        sparsity: Share of the multiply-accumulates of all layers that must be left out at least.

    Raises:
        InputError: The sparsity is not from 0 to `MOST_SPARSITY`, or a loss is not finite.
        InfeasibleError: No level leaves out enough.
    """
    if not 0 <= sparsity <= MOST_SPARSITY:
        raise InputError(f"the sparsity of inputs must be 0 to {MOST_SPARSITY:g}, not {sparsity:g}")
    kept = macs[:, None] / macs.sum() * (1.0 - np.asarray(levels, np.float64))
    found = least_loss_exact(loss, [Resource("multiply-accumulates", "of all", kept, 1.0 - sparsity)])
    return tuple(levels[choice] for choice in found.classes.tolist())
