"""ZeroQuant and ZeroQuant-V2 (arXiv 2206.01861, 2303.08302): group-wise weights, distillation, low-rank repair.

Activations are token-wise 8-bit in the paper; that is a matter of the evaluation, not of the weight.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32

from haloquant.quant.input_checks import check_weight
from haloquant.quant.rivals.parts import uniform_grid
from haloquant.quant.rivals.parts.input_checks import need_between, need_hessian
from haloquant.quant.rivals.parts.low_rank import closest
from haloquant.quant.rivals.parts.stored_bits import branch_bits, grid_bits
from haloquant.quant.rounding.compensation import Progress
from haloquant.records import BitCount, LayerResult, LayerStatistics


@dataclass(frozen=True, slots=True)
class ZeroQuantConfig:
    """Group-wise symmetric grid; `steps` of layer-wise distillation (0: none); `rank` of LoRC's branch (0: none).

    `rate` is the first step of the distillation in units of 1 / (greatest eigenvalue of the Hessian).
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
    """Group-wise rounding, then distillation (LKD as ZeroQuant-Local) and a low-rank repair (LoRC) where asked for.

    ZeroQuant-Global's target is another weight, not another method: see `transforms.propagate.target`.

    Args:
        weight: [out, in], finite.
        statistics: with the Hessian if `steps` > 0.
        config: grid, steps, rank.
        layer: name for the result and for errors.
        progress: called with (steps done, steps).

    Returns:
        LayerResult: with `mac_values` of the dense part; a branch is float and outside the array.

    Raises:
        InputError: weights that are not finite, no Hessian where it is needed, settings out of range.
    """
    spec = uniform_grid.GridSpec(config.bits, config.group, "symmetric")
    uniform_grid.check_spec(spec, layer)
    check_weight(weight, layer)
    need_between("rank", config.rank, 0, min(weight.shape), layer)
    need_between("steps", config.steps, 0, 100_000, layer)
    latent = weight
    if config.steps:
        hessian = need_hessian(statistics, "zeroquant distillation", weight.shape, layer)
        latent = distil(weight, hessian, spec, config.steps, config.rate, progress)
    fitted = uniform_grid.fit(latent, spec)
    level = uniform_grid.levels(latent, fitted)
    value = uniform_grid.values(level, fitted)
    bits = grid_bits(weight.shape[0], weight.shape[1], spec)
    notes: tuple[str, ...] = ()
    if config.rank:
        value = value + closest(weight - value, config.rank).product
        bits += BitCount(branches=branch_bits(weight.shape[0], weight.shape[1], config.rank))
        notes = (f"float16 branch of rank {config.rank} beside the integer MAC",)
    return LayerResult(layer, value, bits, mac_values=level, notes=notes)


def distil(
    weight: Float32[np.ndarray, "out in"],
    hessian: Float32[np.ndarray, "in in"],
    spec: uniform_grid.GridSpec,
    steps: int,
    rate: float,
    progress: Progress | None = None,
) -> Float32[np.ndarray, "out in"]:
    """Train latent weights so that their rounded form gives the layer's output, by a straight-through gradient.

    The loss of a row is (q(v) - w) H (q(v) - w)^T, its gradient by v taken as that by q(v). Steps are `rate` over the
    greatest eigenvalue of H and fall to 0 by a cosine (Adam, which the paper uses on whole blocks, oscillates between
    grid points on this quadratic loss and gains half as much). The best v of all steps is returned row by
    row, w among them, so that no row ends worse than by plain rounding.
    """
    latent, best = weight.copy(), weight.copy()
    least = np.full(weight.shape[0], np.inf)
    stiffness = max(_greatest_eigenvalue(hessian), np.finfo(np.float32).tiny)
    for n in range(steps + 1):
        fitted = uniform_grid.fit(latent, spec)
        error = uniform_grid.values(uniform_grid.levels(latent, fitted), fitted) - weight
        gradient = error @ hessian
        loss = np.einsum("oi,oi->o", gradient, error, dtype=np.float64)
        better = loss < least
        best[better], least[better] = latent[better], loss[better]
        latent -= np.float32(rate / stiffness * 0.5 * (1 + np.cos(np.pi * n / (steps + 1)))) * gradient
        if progress is not None:
            progress(n, steps)
    return best


def _greatest_eigenvalue(hessian: np.ndarray) -> float:
    """By 20 power iterations from a vector of ones; a few per cent are enough for a step size."""
    vector = np.ones(hessian.shape[0], np.float32)
    size = 0.0
    for _ in range(20):
        vector = hessian @ vector
        size = float(np.linalg.norm(vector))
        if size == 0:
            return 0.0
        vector /= size
    return size
