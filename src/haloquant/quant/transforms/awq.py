"""AWQ (arXiv 2306.00978): protect the weights that meet large activations by scaling them up before rounding."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32

from haloquant.errors import InputError
from haloquant.quant.rivals.parts import uniform_grid
from haloquant.quant.rivals.parts.input_checks import need_hessian
from haloquant.quant.transforms.input_scaling import InputScaling, check_shared, scale_statistics
from haloquant.records import LayerStatistics

LEAST = 1e-4
Rounding = Callable[[Float32[np.ndarray, "out in"], LayerStatistics], Float32[np.ndarray, "out in"]]


@dataclass(frozen=True, slots=True)
class AwqConfig:
    """How finely the exponent is searched: alpha = i / points for i in 0 .. points - 1."""

    points: int = 20


@dataclass(frozen=True, slots=True)
class ClipConfig:
    """How far ranges may shrink: to 1 - shrink in `points` equal steps."""

    points: int = 10
    shrink: float = 0.5


def scaling(
    weights: tuple[Float32[np.ndarray, "_ in"], ...],
    statistics: tuple[LayerStatistics, ...],
    rounding: Rounding,
    config: AwqConfig,
    *,
    layer: str,
    shape: Callable[[Float32[np.ndarray, " in"]], Float32[np.ndarray, " in"]] = lambda scale: scale,
) -> InputScaling:
    """The exponent alpha whose scale loses least: s = mean|X|^alpha, divided by sqrt(max s min s).

    The loss is that of the outputs of all linear layers that share the input, sum of tr(dW H dW^T) with
    dW = Q(W diag(s)) diag(1/s) - W; the authors' code takes the output of the surrounding module instead.
    alpha = 0 (s = 1) is among the candidates, so the result is never worse than no scaling by this loss.

    Args:
        weights: every linear layer that reads this input, each [out, in].
        statistics: one for each weight, with Hessian and `input_absmean`.
        rounding: gives the rounded form of a scaled weight from it and its (scaled) statistics; any method will do.
        config: the search.
        layer: name for errors.
        shape: what every candidate is turned into before it is judged, such as powers of two.

    Returns:
        InputScaling: with the exponent and the loss relative to alpha = 0 in its notes.

    Raises:
        InputError: no statistics of the input, weights that do not share it.
    """
    if len(weights) != len(statistics):
        raise InputError(
            f"layer '{layer}': every weight must have its statistics, not {len(statistics)} for {len(weights)}"
        )
    if config.points < 1:
        raise InputError(f"layer '{layer}': points of the search must be at least 1, not {config.points}")
    check_shared(weights, weights[0].shape[1] if weights else 0, layer)
    absmean = statistics[0].input_absmean
    if absmean is None:
        raise InputError(
            f"layer '{layer}': awq needs the mean inputs, not statistics from '{statistics[0].source}'; "
            "collect calibration with layer inputs"
        )
    hessian = need_hessian(statistics[0], "awq", weights[0].shape, layer)
    losses: list[float] = []
    scales = [shape(power_scale(absmean, i / config.points)) for i in range(config.points)]
    for scale in scales:
        loss = 0.0
        for weight, known in zip(weights, statistics, strict=True):
            loss += output_loss(rounding(weight * scale, scale_statistics(known, scale)) / scale - weight, hessian)
        losses.append(loss)
    best = int(np.argmin(losses))
    gain = losses[best] / losses[0] if losses[0] > 0 else 1.0
    return InputScaling("awq", scales[best], (f"alpha {best / config.points:g}", f"loss {gain:.4g} of that at alpha 0"))


def power_scale(absmean: Float32[np.ndarray, " in"], alpha: float) -> Float32[np.ndarray, " in"]:
    """mean|X|^alpha, at least 1e-4, normalised so that its extremes are reciprocal; exactly 1 at alpha 0."""
    scale = np.maximum(absmean.astype(np.float64) ** alpha, LEAST)
    return (scale / np.sqrt(scale.max() * scale.min())).astype(np.float32)


def output_loss(error: Float32[np.ndarray, "out in"], hessian: Float32[np.ndarray, "in in"]) -> float:
    """tr(dW H dW^T): twice the mean squared error of the layer's output, summed over its features."""
    return float(np.einsum("oi,oi->", error @ hessian, error, dtype=np.float64))


def clip(
    weight: Float32[np.ndarray, "out in"],
    statistics: LayerStatistics,
    spec: uniform_grid.GridSpec,
    config: ClipConfig,
    *,
    layer: str,
) -> Float32[np.ndarray, "out in"]:
    """Clip every group to the range that loses least after rounding to nearest.

    Candidates are max|w| (1 - shrink i / points), i in 0 .. points - 1; the loss of a group is dw^T H_gg dw with its
    diagonal block of the Hessian. Not for query and key projections, where the authors skip it.

    Returns:
        The clipped weight, for any rounding with the same grid.

    Raises:
        InputError: no Hessian, or a grid that cannot exist.
    """
    uniform_grid.check_spec(spec, layer)
    hessian = need_hessian(statistics, "awq clip", weight.shape, layer)
    width = spec.width(weight.shape[1])
    whole = uniform_grid.GridSpec(spec.bits, None, spec.scheme)
    clipped = np.empty_like(weight)
    for start in range(0, weight.shape[1], width):
        part = np.ascontiguousarray(weight[:, start : start + width])
        block = hessian[start : start + width, start : start + width]
        limit = np.abs(part).max(axis=1, keepdims=True)
        least = np.full((part.shape[0], 1), np.inf)
        best = limit
        for i in range(config.points):
            bound = limit * np.float32(1 - config.shrink * i / config.points)
            candidate = np.clip(part, -bound, bound)
            fitted = uniform_grid.fit(candidate, whole)
            error = uniform_grid.values(uniform_grid.levels(candidate, fitted), fitted) - part
            loss = np.einsum("oi,oi->o", error @ block, error)[:, None]
            better = loss < least
            least, best = np.where(better, loss, least), np.where(better, bound, best)
        clipped[:, start : start + width] = np.clip(part, -best, best)
    return clipped
