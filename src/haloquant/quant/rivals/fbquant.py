"""FBQuant (arXiv 2501.16385): a low-rank branch S with feedback, W_F = Q(W - S) + S.

The branch is subtracted before rounding and added after. So W - W_F is the rounding error of W - S: at most half a
step, for any S. The paper trains S by gradient with Q held fixed. Here S is the exact minimum of that problem, the best
repair of Q of rank r under the Hessian. The weight is then rounded again with the new S, and the best round is kept.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32

from haloquant.quant.hessian import layer_hessian, output_loss
from haloquant.quant.input_checks import check_setting
from haloquant.quant.rivals.parts.bit_counts import branch_bits, grid_bits
from haloquant.quant.rivals.parts.low_rank import Branch, closest_output
from haloquant.quant.rounding import uniform_grid
from haloquant.records import BitCount, LayerResult, LayerStatistics


@dataclass(frozen=True, slots=True)
class FbQuantConfig:
    """Settings.

    Attributes:
        bits: bits of a code.
        group: input features per scale; None means the whole row.
        scheme: scheme of the grid.
        rank: rank of the branch.
        rounds: how often the branch is fitted and the weight rounded again.
        damping: share of the Hessian's mean diagonal that is added to its diagonal.
    """

    bits: int = 4
    group: int | None = 128
    scheme: uniform_grid.Scheme = "asymmetric"
    rank: int = 8
    rounds: int = 8
    damping: float = 0.01


def quantize(
    weight: Float32[np.ndarray, "out in"], statistics: LayerStatistics, config: FbQuantConfig, *, layer: str
) -> LayerResult:
    """Quantize one layer with a feedback branch.

    Args:
        weight: [out, in], finite.
        statistics: with the Hessian.
        config: settings.
        layer: name of the layer in the result and in error messages.

    Returns:
        The result. `mac_values` belong to the dense part; the float16 branch is counted under `bits.branches`.

    Raises:
        CheckpointError: The weight is not a finite matrix.
        InputError: There is no Hessian, or a setting is out of range.
        InfeasibleError: The damped Hessian is not positive definite.
    """
    spec = uniform_grid.checked_spec(weight, config.bits, config.group, config.scheme, layer)
    check_setting("rank", config.rank, 1, min(weight.shape), layer)
    check_setting("rounds", config.rounds, 1, 1000, layer)
    hessian = layer_hessian(statistics, weight.shape[1], method="fbquant")
    branch = np.zeros_like(weight)
    best = (np.inf, weight, np.zeros(weight.shape, np.int16))
    for n in range(config.rounds + 1):
        dense, level = uniform_grid.round_to_grid(weight - branch, spec)
        loss = output_loss(dense + branch - weight, hessian)
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
        branch_rank=config.rank,
    )
