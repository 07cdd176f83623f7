"""SliM-LLM (arXiv 2405.14917): more bits for salient blocks of inputs, and ranges weighted by salience; then GPTQ."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import no_type_check

import numpy as np
from jaxtyping import Float32, Int64
from numba import njit, prange
from scipy.linalg import LinAlgError, cholesky
from scipy.special import log_softmax

from haloquant.errors import InputError
from haloquant.quant.hessian import damped, layer_hessian
from haloquant.quant.input_checks import check_setting, check_weight
from haloquant.quant.rounding import uniform_grid
from haloquant.quant.rounding.compensation import Progress, compensate, factorize, natural_order
from haloquant.records import BitCount, LayerResult, LayerStatistics


@dataclass(frozen=True, slots=True)
class SlimConfig:
    """Settings.

    Attributes:
        bits: mean bits of a code. As many blocks get one bit more as get one bit less.
        group: inputs of a block.
        samples: inputs that are drawn (with a fixed seed) from the layer's second moments to compare outputs.
        points: trial factors of the scale in 1 - `reach` .. 1 + `reach`; the least sum of |error|^2.4 wins.
        reach: see `points`.
        sigma: a weight is salient if its salience is this many standard deviations above the mean of its block.
        emphasis: weight of a salient error in that sum; others count 1. The authors' lambda, whose default is 1 too.
        damping: share of the Hessian's mean diagonal that is added to its diagonal.
    """

    bits: int = 3
    group: int = 128
    samples: int = 128
    points: int = 101
    reach: float = 0.1
    sigma: float = 2.0
    emphasis: float = 1.0
    damping: float = 0.01


def quantize(
    weight: Float32[np.ndarray, "out in"],
    statistics: LayerStatistics,
    config: SlimConfig,
    *,
    layer: str,
    progress: Progress | None = None,
) -> LayerResult:
    """Quantize one layer: bits by salience, ranges weighted by salience, then GPTQ.

    Args:
        weight: [out, in], finite.
        statistics: with the Hessian.
        config: settings.
        layer: name of the layer in the result and in error messages.
        progress: called with (finished blocks, blocks).

    Returns:
        The result. `mac_values` are the signed levels; the notes hold the bits of every block.

    Raises:
        CheckpointError: The weight is not a finite matrix.
        InputError: The Hessian is missing, belongs to another layer or cannot be factored, or a setting is out of
            range.
    """
    check_setting("bits", config.bits, 2, 6, layer)
    check_setting("group", config.group, 1, 65536, layer)
    check_setting("samples", config.samples, 1, 65536, layer)
    check_setting("points", config.points, 1, 10_001, layer)
    check_setting("damping", config.damping, 1e-9, 1, layer)
    check_weight(weight, layer)
    hessian = layer_hessian(statistics, weight.shape[1], method="slim")
    out, features = weight.shape
    factor = factorize(hessian, natural_order(features, config.group), damping=config.damping, layer=layer)
    alive = weight * (np.diag(hessian) > 0)
    important = _salience(alive, factor.diagonal)
    starts = np.arange(0, features, min(config.group, features))
    order = np.argsort(np.add.reduceat(important.sum(axis=0, dtype=np.float64), starts), kind="stable")
    inputs = draw_inputs(hessian, config.samples, factor.damping)
    bits = allocate(alive, inputs, order, config.bits, config.group)
    zero = np.empty((out, starts.size), np.float32)

    def table(index: int, columns: np.ndarray, updated: Callable[[], np.ndarray]) -> np.ndarray:
        target = updated()
        spec = uniform_grid.GridSpec(int(bits[index]), None)
        fitted = uniform_grid.fit(target, spec)
        part = important[:, columns]
        emphasis = np.where(part > part.mean() + config.sigma * part.std(), config.emphasis, 1.0)
        factors = np.linspace(1 - config.reach, 1 + config.reach, config.points).astype(np.float32)
        best = search_scale(
            target, emphasis.astype(np.float32), fitted.scale[:, 0], fitted.zero[:, 0], factors, spec.high
        )
        zero[:, index] = fitted.zero[:, 0]
        return uniform_grid.table(uniform_grid.Grid(spec, uniform_grid.stored_scale(best)[:, None], fitted.zero))

    rounded = compensate(alive, factor, table, progress=progress)
    widths = np.minimum(config.group, features - starts)
    block_of = np.repeat(np.arange(starts.size), widths)
    return LayerResult(
        layer=layer,
        weight=rounded.values,
        bits=BitCount(
            weights=weight.size,
            codes=out * int((bits * widths).sum()),
            scales=out * int((16 + bits).sum()),
            codebooks=2 * starts.size,
        ),
        mac_values=rounded.codes.astype(np.int16) - zero[:, block_of].astype(np.int16),
        notes=(f"bits of the blocks of {config.group} inputs: {' '.join(map(str, bits))}",),
    )


def _salience(
    weight: Float32[np.ndarray, "out in"], diagonal: Float32[np.ndarray, " in"]
) -> Float32[np.ndarray, "out in"]:
    """Return w^2 / u_j^2, where u_j = 1 / R_jj is the Cholesky diagonal of H^-1, as in the authors' code."""
    return np.square(weight * diagonal)


def draw_inputs(
    hessian: Float32[np.ndarray, "in in"], samples: int, damping: float
) -> Float32[np.ndarray, "samples in"]:
    """Draw Gaussian inputs with the layer's second moments H / 2, with a fixed seed. The real inputs are not kept.

    Raises:
        InputError: The damped Hessian is not positive definite.
    """
    moments = damped(0.5 * hessian.astype(np.float64), damping)
    try:
        root = cholesky(moments, lower=True, overwrite_a=True)
    except LinAlgError:
        raise InputError("the Hessian must be positive definite once damped, but is not; raise the damping") from None
    normal = np.random.default_rng(0).standard_normal((samples, hessian.shape[0]))
    return (normal @ root.T).astype(np.float32)


def allocate(
    weight: Float32[np.ndarray, "out in"],
    inputs: Float32[np.ndarray, "samples in"],
    order: Int64[np.ndarray, " blocks"],
    bits: int,
    group: int,
) -> Int64[np.ndarray, " blocks"]:
    """Return the bits of every block of inputs: the paper's search with two pointers, which keeps the mean.

    For n = 0, 1, ... the n least salient blocks get one bit less and the n most salient ones get one bit more. The n is
    chosen whose outputs, as softmax distributions over the output features, have the least Kullback-Leibler divergence
    from the true outputs.

    Args:
        weight: [out, in].
        inputs: tokens to compare outputs on.
        order: blocks by rising salience.
        bits: mean bits.
        group: inputs of a block. A smaller last block counts like the others.

    Returns:
        Bits of the blocks in their natural order.
    """
    parts = [slice(b * group, (b + 1) * group) for b in range(order.size)]
    truth = log_softmax(inputs @ weight.T, axis=1)

    def outputs(block: int, bits: int) -> np.ndarray:
        part = np.ascontiguousarray(weight[:, parts[block]])
        return inputs[:, parts[block]] @ uniform_grid.round_to_grid(part, uniform_grid.GridSpec(bits, None))[0].T

    total = np.sum([outputs(b, bits) for b in range(order.size)], axis=0)
    divergences = [divergence(truth, total)]
    for n in range(order.size // 2):
        low, high = int(order[n]), int(order[-1 - n])
        total = total - outputs(low, bits) + outputs(low, bits - 1) - outputs(high, bits) + outputs(high, bits + 1)
        divergences.append(divergence(truth, total))
    best = int(np.argmin(divergences))
    chosen = np.full(order.size, bits)
    chosen[order[:best]] -= 1
    chosen[order[order.size - best :]] += 1
    return chosen


def divergence(truth: Float32[np.ndarray, "n out"], outputs: Float32[np.ndarray, "n out"]) -> float:
    """Return KL(q || p) in nats, the mean over samples; q is the softmax of `outputs`, and `truth` is log p.

    The rounded outputs come first, as in the authors' code.
    """
    given = log_softmax(outputs.astype(np.float64), axis=1)
    return float((np.exp(given) * (given - truth.astype(np.float64))).sum(axis=1).mean())


def search_scale(
    target: Float32[np.ndarray, "out width"],
    emphasis: Float32[np.ndarray, "out width"],
    scale: Float32[np.ndarray, " out"],
    zero: Float32[np.ndarray, " out"],
    factors: Float32[np.ndarray, " points"],
    top: int,
) -> Float32[np.ndarray, " out"]:
    """Return, for every row, the scale times the first factor with the least sum of emphasis * |error|^2.4."""
    best = np.empty_like(scale)
    _search(target, emphasis, scale, zero, factors, np.float32(top), best)
    return best


@njit(cache=True, parallel=True)
@no_type_check
def _search(target, emphasis, scale, zero, factors, top, best):
    """Write the best scale of every row. A trial stops as soon as it is worse than the best."""
    for r in prange(target.shape[0]):
        least = np.inf
        for factor in factors:
            step = scale[r] * factor
            total = 0.0
            for j in range(target.shape[1]):
                code = min(max(np.rint(target[r, j] / step) + zero[r], np.float32(0)), top)
                miss = abs(target[r, j] - (code - zero[r]) * step)
                total += emphasis[r, j] * miss ** np.float32(2.4)
                if total >= least:
                    break
            if total < least:
                least = total
                best[r] = step
