"""AWQ (arXiv 2306.00978): scale up weights that multiply large activations, to make their rounding errors smaller."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32

from haloquant.errors import InputError
from haloquant.quant.hessian import RowPart, layer_hessian, output_loss, row_parts
from haloquant.quant.rounding import uniform_grid
from haloquant.quant.transforms.input_scaling import InputScaling, check_shared, scale_statistics
from haloquant.records import LayerStatistics

_LEAST = 1e-4  # smallest scale before it is normalized
# From a scaled weight and its scaled statistics to the rounded weight.
Rounding = Callable[[Float32[np.ndarray, "out in"], LayerStatistics], Float32[np.ndarray, "out in"]]


@dataclass(frozen=True, slots=True)
class AwqConfig:
    """Settings of the scale search: exponents i / points for i in 0 .. points - 1 are tried."""

    points: int = 20


@dataclass(frozen=True, slots=True)
class ClipConfig:
    """Settings of clipping: ranges max|w| (1 - shrink i / points) for i in 0 .. points - 1 are tried."""

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
    """Search the exponent alpha of the scale s = mean|X|^alpha / sqrt(max s min s) with the lowest loss.

    The loss is the output error of all linear layers that share the input: the sum of tr(dW H dW^T), where
    dW = Q(W diag(s)) diag(1/s) - W. The authors' code takes the output of the surrounding module instead.
    alpha = 0 (s = 1) is tried too, so the loss is never higher than without scaling.

    Args:
        weights: every linear layer that reads this input, each [out, in].
        statistics: one for each weight, with Hessian and `input_absmean`.
        rounding: rounds a scaled weight, given its scaled statistics. Any method fits.
        config: settings of the search.
        layer: name of the layer, for error messages.
        shape: applied to every trial scale before its loss is computed, for example rounding to powers of two.

    Returns:
        The scale. Its notes hold the exponent and the loss relative to alpha = 0.

    Raises:
        InputError: Statistics of the input are missing, or the weights do not share the input.
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
    layer_hessian(statistics[0], weights[0].shape[1], method="awq")
    # Layers that share an input are judged by one Hessian; in a fused layer, value rows have their own.
    alone = len(weights) == 1
    parts = row_parts(statistics[0], weights[0].shape[0]) if alone else (RowPart(slice(None), statistics[0]),)
    losses: list[float] = []
    scales = [shape(power_scale(absmean, i / config.points)) for i in range(config.points)]
    for scale in scales:
        loss = 0.0
        for weight, known in zip(weights, statistics, strict=True):
            error = rounding(weight * scale, scale_statistics(known, scale)) / scale - weight
            for part in parts:
                loss += output_loss(error[part.rows], layer_hessian(part.statistics, method="awq"))
        losses.append(loss)
    best = int(np.argmin(losses))
    gain = losses[best] / losses[0] if losses[0] > 0 else 1.0
    return InputScaling("awq", scales[best], (f"alpha {best / config.points:g}", f"loss {gain:.4g} of that at alpha 0"))


def power_scale(absmean: Float32[np.ndarray, " in"], alpha: float) -> Float32[np.ndarray, " in"]:
    """Return mean|X|^alpha, at least 1e-4, divided by sqrt(max min): largest times smallest scale is 1."""
    scale = np.maximum(absmean.astype(np.float64) ** alpha, _LEAST)
    return (scale / np.sqrt(scale.max() * scale.min())).astype(np.float32)


def clip(
    weight: Float32[np.ndarray, "out in"],
    statistics: LayerStatistics,
    spec: uniform_grid.GridSpec,
    config: ClipConfig,
    *,
    layer: str,
) -> Float32[np.ndarray, "out in"]:
    """Clip every group of a weight to the range with the lowest loss after rounding to nearest.

    The ranges of `ClipConfig` are tried. The loss of a group is dw^T H_gg dw, where H_gg is its diagonal block of the
    Hessian. The authors do not clip query and key projections; `quant.rivals.awq` leaves them out.

    Args:
        weight: [out, in].
        statistics: with the Hessian.
        spec: the grid that the weight will be rounded to.
        config: the ranges.
        layer: name of the layer, for error messages.

    Returns:
        The clipped weight.

    Raises:
        InputError: There is no Hessian, or the grid is not possible.
    """
    uniform_grid.check_spec(spec, layer)
    layer_hessian(statistics, weight.shape[1], method="awq clip")
    clipped = np.empty_like(weight)
    for part in row_parts(statistics, weight.shape[0]):
        hessian = layer_hessian(part.statistics, weight.shape[1], method="awq clip")
        clipped[part.rows] = _clipped(weight[part.rows], hessian, spec, config)
    return clipped


def _clipped(weight: np.ndarray, hessian: np.ndarray, spec: uniform_grid.GridSpec, config: ClipConfig) -> np.ndarray:
    """Clip every group of rows that share one Hessian."""
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
            error = uniform_grid.round_to_grid(candidate, whole)[0] - part
            loss = np.einsum("oi,oi->o", error @ block, error)[:, None]
            better = loss < least
            least, best = np.where(better, loss, least), np.where(better, bound, best)
        clipped[:, start : start + width] = np.clip(part, -best, best)
    return clipped
