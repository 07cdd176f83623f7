"""The Hessian of a layer that few tokens reached, shrunk towards equal weight for all inputs.

A Hessian that is estimated from T tokens of n inputs says little of directions that these tokens do not span, and
compensation puts its errors there. Shrinkage towards a multiple of the identity bounds this error; its share falls with
the number of tokens (Ledoit and Wolf, J. Multivariate Analysis 88, 2004). `docs/stages/quantizer.md` has the figures
that the constants were chosen by.
"""

from dataclasses import replace

import numpy as np
from jaxtyping import Float32

from haloquant.records import LayerStatistics

ENOUGH = 8
"""From this many tokens for each input on, the Hessian stays as it is."""
SHARE = 0.25
"""Share of the mean diagonal that is added at one token for each input, and at fewer."""


def shrunk(known: LayerStatistics) -> LayerStatistics:
    """Return the statistics with SHARE min(1, n / T) mean(diag H) added to the diagonal of each Hessian.

    Statistics without a Hessian, and those of at least `ENOUGH` tokens for each input, are returned as they are.
    """
    if known.hessian is None:
        return known
    inputs = known.hessian.shape[0]
    if known.tokens >= ENOUGH * inputs:
        return known
    share = SHARE * min(1.0, inputs / max(known.tokens, 1))
    values = None if known.value_hessian is None else _with_diagonal(known.value_hessian, share)
    return replace(known, hessian=_with_diagonal(known.hessian, share), value_hessian=values)


def _with_diagonal(hessian: Float32[np.ndarray, "in in"], share: float) -> Float32[np.ndarray, "in in"]:
    """Return a matrix with this share of its mean diagonal added to the diagonal."""
    diagonal = np.diagonal(hessian)
    found = hessian.copy()
    np.fill_diagonal(found, diagonal + np.float32(share * float(diagonal.mean(dtype=np.float64))))
    return found
