"""FBQuant (arXiv 2501.16385): a low-rank branch S with feedback, W_F = Q(W - S) + S.

The branch is subtracted before rounding and added after, so that |W - W_F| is the rounding error of W - S: at most half
a step, whatever S is. The paper trains S by gradient with Q held fixed; here each round takes the exact minimum of that
problem, the best rank-r repair of Q under the Hessian, rounds again, and the best round is kept.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32

from haloquant.quant.input_checks import check_weight
from haloquant.quant.rivals.parts import uniform_grid
from haloquant.quant.rivals.parts.input_checks import need_between, need_hessian
from haloquant.quant.rivals.parts.low_rank import Branch, closest_output
from haloquant.quant.rivals.parts.stored_bits import branch_bits, grid_bits
from haloquant.records import BitCount, LayerResult, LayerStatistics


@dataclass(frozen=True, slots=True)
class FbQuantConfig:
    """Grid, rank of the branch, rounds of (repair, round again)."""

    bits: int = 4
    group: int | None = 128
    scheme: uniform_grid.Scheme = "asymmetric"
    rank: int = 8
    rounds: int = 8
    damping: float = 0.01


def quantize(
    weight: Float32[np.ndarray, "out in"], statistics: LayerStatistics, config: FbQuantConfig, *, layer: str
) -> LayerResult:
    """Rounding with a feedback branch.

    Args:
        weight: [out, in], finite.
        statistics: with the Hessian.
        config: grid, rank, rounds.
        layer: name for the result and for errors.

    Returns:
        LayerResult: with `mac_values` of the dense part; the float16 branch is counted under `branches`.

    Raises:
        InputError: weights that are not finite, no Hessian, settings out of range.
        InfeasibleError: the damped Hessian is not positive definite.
    """
    spec = uniform_grid.GridSpec(config.bits, config.group, config.scheme)
    uniform_grid.check_spec(spec, layer)
    check_weight(weight, layer)
    need_between("rank", config.rank, 1, min(weight.shape), layer)
    need_between("rounds", config.rounds, 1, 1000, layer)
    hessian = need_hessian(statistics, "fbquant", weight.shape, layer)
    branch = np.zeros_like(weight)
    best = (np.inf, weight, np.zeros(weight.shape, np.int16))
    for n in range(config.rounds + 1):
        dense, level = round_remainder(weight, branch, spec)
        error = dense + branch - weight
        loss = float(np.einsum("oi,oi->", error @ hessian, error, dtype=np.float64))
        if loss < best[0]:
            best = (loss, dense + branch, level)
        if n < config.rounds:
            repair: Branch = closest_output(weight - dense, hessian, config.rank, config.damping)
            branch = repair.product
    bits = grid_bits(weight.shape[0], weight.shape[1], spec)
    return LayerResult(
        layer=layer,
        weight=best[1],
        bits=bits + BitCount(branches=branch_bits(weight.shape[0], weight.shape[1], config.rank)),
        mac_values=best[2],
        notes=(f"float16 branch of rank {config.rank} beside the integer MAC",),
    )


def round_remainder(
    weight: Float32[np.ndarray, "out in"], branch: Float32[np.ndarray, "out in"], spec: uniform_grid.GridSpec
) -> tuple[Float32[np.ndarray, "out in"], np.ndarray]:
    """Q(W - S) and its levels; W - (Q(W - S) + S) is then the rounding error of W - S."""
    remainder = weight - branch
    fitted = uniform_grid.fit(remainder, spec)
    level = uniform_grid.levels(remainder, fitted)
    return uniform_grid.values(level, fitted), level
