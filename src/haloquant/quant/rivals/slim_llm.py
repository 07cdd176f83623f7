"""SliM-LLM (arXiv 2405.14917): more bits for salient blocks of inputs, ranges that mind salience."""

from dataclasses import dataclass
from typing import no_type_check

import numpy as np
from jaxtyping import Float32, Int64
from numba import njit, prange
from scipy.linalg import LinAlgError, cholesky
from scipy.special import log_softmax

from haloquant.errors import InputError
from haloquant.quant.input_checks import check_weight
from haloquant.quant.rivals.parts import uniform_grid
from haloquant.quant.rivals.parts.input_checks import need_between, need_hessian
from haloquant.quant.rounding.compensation import Progress, compensate, factorize, natural_blocks
from haloquant.records import BitCount, LayerResult, LayerStatistics


@dataclass(frozen=True, slots=True)
class SlimConfig:
    """`bits` on average; blocks of `group` inputs get one bit more or less, as many of the one as of the other.

    `samples` inputs are drawn (seeded) with the layer's covariance to compare outputs. Ranges are searched among
    `points` factors in 1 - `reach` .. 1 + `reach`, for the least sum of |error|^2.4, salient weights (more than `sigma`
    deviations above the mean salience) counting `emphasis` times.
    """

    bits: int = 3
    group: int = 128
    samples: int = 128
    points: int = 41
    reach: float = 0.1
    sigma: float = 2.0
    emphasis: float = 2.0
    damping: float = 0.01


def quantize(
    weight: Float32[np.ndarray, "out in"],
    statistics: LayerStatistics,
    config: SlimConfig,
    *,
    layer: str,
    progress: Progress | None = None,
) -> LayerResult:
    """Salience-determined bits, salience-weighted ranges, then GPTQ.

    Args:
        weight: [out, in], finite.
        statistics: with the Hessian.
        config: bits, blocks, searches.
        layer: name for the result and for errors.
        progress: called with (blocks done, blocks).

    Returns:
        LayerResult: with `mac_values` the signed levels; the bits of every block are in the notes.

    Raises:
        InputError: weights that are not finite, a Hessian that is absent, of another layer or not to be factored,
            settings out of range.
    """
    need_between("bits", config.bits, 2, 6, layer)
    need_between("group", config.group, 1, 65536, layer)
    need_between("samples", config.samples, 1, 65536, layer)
    need_between("points", config.points, 1, 10_001, layer)
    need_between("damping", config.damping, 1e-9, 1, layer)
    check_weight(weight, layer)
    hessian = need_hessian(statistics, "slim", weight.shape, layer)
    out, features = weight.shape
    factor = factorize(hessian, natural_blocks(features, config.group), damping=config.damping, layer=layer)
    alive = weight * (np.diag(hessian) > 0)
    important = salience(alive, factor.diagonal)
    starts = np.arange(0, features, min(config.group, features))
    order = np.argsort(np.add.reduceat(important.sum(axis=0, dtype=np.float64), starts), kind="stable")
    inputs = draw_inputs(hessian, config.samples, factor.damping)
    bits = allocate(alive, inputs, order, config.bits, config.group)
    zero = np.empty((out, starts.size), np.float32)

    def table(index: int, columns: np.ndarray, target: np.ndarray) -> np.ndarray:
        spec = uniform_grid.GridSpec(int(bits[index]), None)
        fitted = uniform_grid.fit(target, spec)
        part = important[:, columns]
        deviation = part.std(axis=1, keepdims=True)
        emphasis = np.where(part > part.mean(axis=1, keepdims=True) + config.sigma * deviation, config.emphasis, 1.0)
        factors = np.linspace(1 - config.reach, 1 + config.reach, config.points).astype(np.float32)
        best = search_scale(
            target, emphasis.astype(np.float32), fitted.scale[:, 0], fitted.zero[:, 0], factors, spec.high
        )
        zero[:, index] = fitted.zero[:, 0]
        return uniform_grid.table(uniform_grid.Grid(spec, uniform_grid.half(best)[:, None], fitted.zero))

    done = compensate(alive, factor, table, progress=progress)
    widths = np.minimum(config.group, features - starts)
    of = np.repeat(np.arange(starts.size), widths)
    return LayerResult(
        layer=layer,
        weight=done.values,
        bits=BitCount(
            weights=weight.size,
            codes=out * int((bits * widths).sum()),
            scales=out * int((16 + bits).sum()),
            codebooks=2 * starts.size,
        ),
        mac_values=done.codes.astype(np.int16) - zero[:, of].astype(np.int16),
        notes=(f"bits of the blocks of {config.group} inputs: {' '.join(map(str, bits))}",),
    )


def salience(
    weight: Float32[np.ndarray, "out in"], diagonal: Float32[np.ndarray, " in"]
) -> Float32[np.ndarray, "out in"]:
    """w^2 / u_j^2 with u_j = 1 / R_jj the Cholesky diagonal of H^-1, as the authors' code takes it."""
    return np.square(weight * diagonal)


def draw_inputs(
    hessian: Float32[np.ndarray, "in in"], samples: int, damping: float
) -> Float32[np.ndarray, "samples in"]:
    """Gaussian inputs with the layer's second moments H / 2, the same every time (the inputs themselves are not kept).

    Raises:
        InputError: the damped Hessian is not positive definite.
    """
    moments = 0.5 * hessian.astype(np.float64)
    mean = float(np.diag(moments).mean())
    np.fill_diagonal(moments, np.diag(moments) + damping * (mean if mean > 0 else 1.0))
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
    """Bits of every block of inputs, their mean kept: the double pointer of the paper.

    For n = 0, 1, ... the n blocks of least salience get one bit less and the n of greatest one bit more; the n is taken
    whose outputs, as distributions over the output features, are nearest to the true ones by Kullback and Leibler.

    Args:
        weight: [out, in].
        inputs: tokens to compare outputs on.
        order: blocks by rising salience.
        bits: mean bits.
        group: inputs of a block. A last block cut short counts as a whole one.

    Returns:
        Bits of the blocks in their natural order.
    """
    parts = [slice(b * group, (b + 1) * group) for b in range(order.size)]
    truth = log_softmax(inputs @ weight.T, axis=1)

    def outputs(block: int, bits: int) -> np.ndarray:
        part = np.ascontiguousarray(weight[:, parts[block]])
        fitted = uniform_grid.fit(part, uniform_grid.GridSpec(bits, None))
        return inputs[:, parts[block]] @ uniform_grid.values(uniform_grid.levels(part, fitted), fitted).T

    made = np.sum([outputs(b, bits) for b in range(order.size)], axis=0)
    divergences = [divergence(truth, made)]
    for n in range(order.size // 2):
        low, high = int(order[n]), int(order[-1 - n])
        made = made - outputs(low, bits) + outputs(low, bits - 1) - outputs(high, bits) + outputs(high, bits + 1)
        divergences.append(divergence(truth, made))
    best = int(np.argmin(divergences))
    chosen = np.full(order.size, bits)
    chosen[order[:best]] -= 1
    chosen[order[order.size - best :]] += 1
    return chosen


def divergence(truth: Float32[np.ndarray, "n out"], made: Float32[np.ndarray, "n out"]) -> float:
    """KL(p || q) in nats, mean over samples: p with log-probabilities `truth`, q the softmax of `made`."""
    difference = truth.astype(np.float64) - log_softmax(made.astype(np.float64), axis=1)
    return float((np.exp(truth.astype(np.float64)) * difference).sum(axis=1).mean())


def search_scale(
    target: Float32[np.ndarray, "out width"],
    emphasis: Float32[np.ndarray, "out width"],
    scale: Float32[np.ndarray, " out"],
    zero: Float32[np.ndarray, " out"],
    factors: Float32[np.ndarray, " points"],
    top: int,
) -> Float32[np.ndarray, " out"]:
    """The scale times the factor with the least sum of emphasis * |error|^2.4, row by row; the first of equals."""
    best = np.empty_like(scale)
    _search(target, emphasis, scale, zero, factors, np.float32(top), best)
    return best


@njit(cache=True, parallel=True)
@no_type_check
def _search(target, emphasis, scale, zero, factors, top, best):
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
