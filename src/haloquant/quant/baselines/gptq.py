"""GPTQ (arXiv 2210.17323): round to nearest with the error of each column made good by the columns after it."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float32, Int64

from haloquant.quant.baselines import grid
from haloquant.quant.baselines.account import grid_bits, order_bits
from haloquant.quant.baselines.checks import need_between, need_hessian
from haloquant.quant.baselines.columns import Columns, Compensated, Progress, compensate, factorize
from haloquant.quant.checks import check_weight
from haloquant.types import BitCount, LayerResult, LayerStatistics


@dataclass(frozen=True, slots=True)
class GptqConfig:
    """The grid, and how the columns are walked.

    `order`: "activation" rounds the features with the greatest Hessian diagonal first. `groups`: "static" fits every
    group's grid to the weights before any is rounded (and keeps groups of neighbouring features whole under any order);
    "dynamic" fits it to the compensated weights when the group begins.
    """

    bits: int = 4
    group: int | None = 128
    scheme: grid.Scheme = "asymmetric"
    damping: float = 0.01
    order: Literal["natural", "activation"] = "activation"
    groups: Literal["static", "dynamic"] = "static"


def quantize(
    weight: Float32[np.ndarray, "out in"],
    statistics: LayerStatistics,
    config: GptqConfig,
    *,
    layer: str,
    progress: Progress | None = None,
) -> LayerResult:
    """GPTQ on one layer.

    Args:
        weight: [out, in], finite.
        statistics: with the Hessian (2/T) X X^T; features that never fire (zero diagonal) get weight 0.
        config: grid, damping, order.
        layer: name for the result and for errors.
        progress: called with (columns done, columns).

    Returns:
        LayerResult: with `mac_values` the signed levels.

    Raises:
        InputError: weights that are not finite, no Hessian or one of another layer, a grid that cannot exist.
        InfeasibleError: the Hessian cannot be factored.
    """
    spec = grid.GridSpec(config.bits, config.group, config.scheme)
    grid.check_spec(spec, layer)
    need_between("damping", config.damping, 0.0, 1.0, layer)
    check_weight(weight, layer)
    hessian = need_hessian(statistics, "gptq", weight.shape, layer)
    order = column_order(hessian, config.order)
    factor = factorize(hessian[np.ix_(order, order)], config.damping)
    alive = weight[:, order] * ~factor.dead
    back = np.argsort(order)
    width = spec.width(weight.shape[1])
    if config.groups == "static":
        fitted = grid.fit(np.ascontiguousarray(alive[:, back]), spec)
        done = _walk_static(alive, factor.upper, fitted, order // width, progress)
    else:
        done = _walk_dynamic(alive, factor.upper, spec, progress)
    bits = grid_bits(weight.shape[0], weight.shape[1], spec)
    if config.groups == "dynamic" and config.order == "activation" and width < weight.shape[1]:
        bits += BitCount(scales=order_bits(weight.shape[1]))
    return LayerResult(
        layer=layer,
        weight=np.ascontiguousarray(done.values[:, back]),
        bits=bits,
        mac_values=np.ascontiguousarray(done.levels[:, back]),
        notes=_notes(factor.damping, config.damping, int(factor.dead.sum())),
    )


def column_order(
    hessian: Float32[np.ndarray, "in in"], order: Literal["natural", "activation"]
) -> Int64[np.ndarray, " in"]:
    """The features in the order in which they are rounded; ties keep their natural order."""
    if order == "natural":
        return np.arange(hessian.shape[0])
    return np.argsort(-np.diag(hessian), kind="stable")


def _walk_static(
    weight: np.ndarray, upper: np.ndarray, fitted: grid.Grid, group_of: np.ndarray, progress: Progress | None
) -> Compensated:
    low, high = np.float32(fitted.spec.low), np.float32(fitted.spec.high)

    def columns(current: np.ndarray, start: int) -> Columns:
        members, shape = group_of[start : start + 128], current.shape
        return Columns(
            scale=fitted.scale[:, members],
            zero=fitted.zero[:, members],
            low=np.full(shape[1], low),
            high=np.full(shape[1], high),
            keep=np.zeros(shape, bool),
        )

    return compensate(weight, upper, columns, 128, progress)


def _walk_dynamic(weight: np.ndarray, upper: np.ndarray, spec: grid.GridSpec, progress: Progress | None) -> Compensated:
    width = spec.width(weight.shape[1])

    def columns(current: np.ndarray, start: int) -> Columns:
        fitted = grid.fit(np.ascontiguousarray(current), grid.GridSpec(spec.bits, None, spec.scheme))
        return Columns(
            scale=np.broadcast_to(fitted.scale, current.shape),
            zero=np.broadcast_to(fitted.zero, current.shape),
            low=np.full(current.shape[1], spec.low, np.float32),
            high=np.full(current.shape[1], spec.high, np.float32),
            keep=np.zeros(current.shape, bool),
        )

    return compensate(weight, upper, columns, width, progress)


def _notes(used: float, asked: float, dead: int) -> tuple[str, ...]:
    notes = []
    if used != asked:
        notes.append(f"damping raised from {asked:g} to {used:g} of the mean diagonal to factor the Hessian")
    if dead:
        notes.append(f"{dead} input features never fired in calibration; their weights are 0")
    return tuple(notes)
