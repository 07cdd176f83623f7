"""ZeroQuant and ZeroQuant-V2 (arXiv 2206.01861, 2303.08302): groups of weights, distillation, low-rank repair.

The paper rounds activations to 8 bits per token. That belongs to the evaluation, not to the weight.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32

from haloquant.quant.hessian import layer_hessian
from haloquant.quant.input_checks import check_setting
from haloquant.quant.rivals.parts.bit_counts import branch_bits, grid_bits
from haloquant.quant.rivals.parts.low_rank import closest
from haloquant.quant.rounding import uniform_grid
from haloquant.quant.rounding.compensation import Progress
from haloquant.quant.transforms.error_propagation import PairedInputs, held_out_target
from haloquant.records import BitCount, LayerResult, LayerStatistics


@dataclass(frozen=True, slots=True)
class ZeroQuantConfig:
    """Settings of the symmetric grid, the distillation and the branch.

    Attributes:
        bits: bits of a code.
        group: input features per scale; None means the whole row.
        steps: number of steps of layer-wise distillation; 0 means none.
        rate: first step size of the distillation in units of 1 / (greatest eigenvalue of the Hessian).
        rank: rank of LoRC's low-rank branch; 0 means none.
    """

    bits: int = 4
    group: int | None = 128
    steps: int = 0
    rate: float = 0.3
    rank: int = 0


def quantize(
    weight: Float32[np.ndarray, "out in"],
    statistics: LayerStatistics,
    config: ZeroQuantConfig,
    *,
    layer: str,
    progress: Progress | None = None,
) -> LayerResult:
    """Quantize one layer by groups.

    The settings can add distillation (LKD as ZeroQuant-Local) and low-rank repair (LoRC).
    `quantize_to_outputs` is ZeroQuant-Global.

    Args:
        weight: [out, in], finite.
        statistics: with the Hessian if `steps` > 0.
        config: settings.
        layer: name of the layer in the result and in error messages.
        progress: called with (finished steps, steps).

    Returns:
        The result. `mac_values` belong to the dense part; a branch is float16 and is computed outside the array.

    Raises:
        CheckpointError: The weight is not a finite matrix.
        InputError: There is no Hessian although `steps` > 0, or a setting is out of range.
    """
    spec = uniform_grid.checked_spec(weight, config.bits, config.group, "symmetric", layer)
    check_setting("rank", config.rank, 0, min(weight.shape), layer)
    check_setting("steps", config.steps, 0, 100_000, layer)
    latent = weight
    if config.steps:
        hessian = layer_hessian(statistics, weight.shape[1], method="zeroquant distillation")
        latent = _distilled(weight, hessian, spec, config.steps, config.rate, progress)
    value, level = uniform_grid.round_to_grid(latent, spec)
    bits = grid_bits(weight.shape[0], weight.shape[1], spec)
    notes: tuple[str, ...] = ()
    if config.rank:
        value = value + closest(weight - value, config.rank).product
        bits += BitCount(branches=branch_bits(weight.shape[0], weight.shape[1], config.rank))
        notes = (f"float16 branch of rank {config.rank} beside the integer MAC",)
    return LayerResult(layer, value, bits, mac_values=level, notes=notes, branch_rank=config.rank)


def quantize_to_outputs(
    weight: Float32[np.ndarray, "out in"], inputs: PairedInputs, config: ZeroQuantConfig, *, layer: str
) -> LayerResult:
    """Quantize one layer as ZeroQuant-Global: on the inputs that rounding made, its outputs are near the originals.

    min over Q of |W X - Q X'|^2 is a distillation with another weight as its target and the Hessian of X'
    (`error_propagation.held_out_target`). The authors distil a whole decoder block by Adam; here every layer is
    distilled alone, in order of execution.

    Args:
        weight: [out, in], finite.
        inputs: moments of X and X'.
        config: settings; `rank` must be 0.
        layer: name of the layer in the result and in error messages.

    Raises:
        CheckpointError: the weight is not a finite matrix.
        InputError: a setting is out of range, or the moments have not the size of the layer.
        InfeasibleError: the damped Hessian is singular.
    """
    spec = uniform_grid.checked_spec(weight, config.bits, config.group, "symmetric", layer)
    check_setting("rank", config.rank, 0, 0, layer)
    goal, damping = held_out_target(weight, inputs, lambda value: uniform_grid.round_to_grid(value, spec)[0])
    latent = _distilled(goal, inputs.all_hessian, spec, config.steps, config.rate, None)
    value, level = uniform_grid.round_to_grid(latent, spec)
    bits = grid_bits(weight.shape[0], weight.shape[1], spec)
    return LayerResult(layer, value, bits, mac_values=level, notes=(f"damping of the target: {damping:g}",))


def _distilled(
    weight: Float32[np.ndarray, "out in"],
    hessian: Float32[np.ndarray, "in in"],
    spec: uniform_grid.GridSpec,
    steps: int,
    rate: float,
    progress: Progress | None,
) -> Float32[np.ndarray, "out in"]:
    """Train latent weights v by a straight-through gradient, so that their rounded form q(v) gives the layer's output.

    The loss of a row is (q(v) - w) H (q(v) - w)^T; its gradient by v is taken as that by q(v). The first step size is
    `rate` / (greatest eigenvalue of H); it falls to 0 by a cosine. The paper uses Adam on whole blocks; on this
    quadratic loss Adam oscillates between grid points and gains half as much. The best v of all steps is returned for
    every row. w is one of them, so no row ends worse than with plain rounding.
    """
    latent, best = weight.copy(), weight.copy()
    least = np.full(weight.shape[0], np.inf)
    stiffness = max(_greatest_eigenvalue(hessian), np.finfo(np.float32).tiny)
    for n in range(steps + 1):
        error = uniform_grid.round_to_grid(latent, spec)[0] - weight
        gradient = error @ hessian
        loss = np.einsum("oi,oi->o", gradient, error, dtype=np.float64)
        better = loss < least
        best[better], least[better] = latent[better], loss[better]
        latent -= np.float32(rate / stiffness * 0.5 * (1 + np.cos(np.pi * n / (steps + 1)))) * gradient
        if progress is not None:
            progress(n, steps)
    return best


def _greatest_eigenvalue(hessian: np.ndarray) -> float:
    """Estimate the greatest eigenvalue by 20 power iterations, to a few per cent: enough for a step size."""
    vector = np.ones(hessian.shape[0], np.float32)
    size = 0.0
    for _ in range(20):
        vector = hessian @ vector
        size = float(np.linalg.norm(vector))
        if size == 0:
            return 0.0
        vector /= size
    return size
