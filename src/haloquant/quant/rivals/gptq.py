"""GPTQ (arXiv 2210.17323): round to nearest with the error of each column made good by the columns after it."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float32, Int64

from haloquant.quant.input_checks import check_weight
from haloquant.quant.rivals.parts import uniform_grid
from haloquant.quant.rivals.parts.input_checks import need_between, need_hessian
from haloquant.quant.rivals.parts.stored_bits import grid_bits, order_bits
from haloquant.quant.rounding.compensation import Compensated, Factor, Progress, compensate, factorize
from haloquant.records import BitCount, LayerResult, LayerStatistics

BLOCK = 128  # columns whose errors meet the later columns in one matrix product


@dataclass(frozen=True, slots=True)
class GptqConfig:
    """The grid, and how the columns are walked.

    `order`: "activation" rounds the features with the greatest Hessian diagonal first. `groups`: "static" fits every
    group's grid to the weights before any is rounded (and keeps groups of neighbouring features whole under any order);
    "dynamic" fits it to the compensated weights when the group begins.
    """

    bits: int = 4
    group: int | None = 128
    scheme: uniform_grid.Scheme = "asymmetric"
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
        InputError: weights that are not finite, a Hessian that is absent, of another layer or not to be factored, a
            grid that cannot exist.
    """
    spec = uniform_grid.GridSpec(config.bits, config.group, config.scheme)
    uniform_grid.check_spec(spec, layer)
    need_between("damping", config.damping, 1e-9, 1, layer)
    check_weight(weight, layer)
    hessian = need_hessian(statistics, "gptq", weight.shape, layer)
    order = column_order(hessian, config.order)
    dead = np.diag(hessian) <= 0
    alive = weight * ~dead
    width = spec.width(weight.shape[1])
    order = column_order(hessian, config.order)
    if config.groups == "static" or width == weight.shape[1]:
        done, level, factor = _static(alive, hessian, order, spec, config.damping, layer, progress)
    else:
        done, level, factor = _dynamic(alive, hessian, order, spec, config.damping, layer, progress)
    bits = grid_bits(weight.shape[0], weight.shape[1], spec)
    if config.groups == "dynamic" and config.order == "activation" and width < weight.shape[1]:
        bits += BitCount(scales=order_bits(weight.shape[1]))
    notes = _notes(factor.damping, config.damping, int(dead.sum()))
    return LayerResult(layer=layer, weight=done.values, bits=bits, mac_values=level, notes=notes)


def column_order(
    hessian: Float32[np.ndarray, "in in"], order: Literal["natural", "activation"]
) -> Int64[np.ndarray, " in"]:
    """The features in the order in which they are rounded; ties keep their natural order."""
    if order == "natural":
        return np.arange(hessian.shape[0])
    return np.argsort(-np.diag(hessian), kind="stable")


def _static(
    weight: np.ndarray,
    hessian: np.ndarray,
    order: np.ndarray,
    spec: uniform_grid.GridSpec,
    damping: float,
    layer: str,
    progress: Progress | None,
) -> tuple[Compensated, np.ndarray, Factor]:
    """Grids first, then the columns in any order."""
    fitted = uniform_grid.fit(weight, spec)
    table = uniform_grid.table(fitted)
    group_of = np.arange(weight.shape[1]) // spec.width(weight.shape[1])
    factor = factorize(hessian, _runs(order, BLOCK), damping=damping, layer=layer)
    done = compensate(weight, factor, lambda index, columns, target: table, groups=group_of, progress=progress)
    return done, _levels(done, fitted.zero[:, group_of], spec), factor


def _dynamic(
    weight: np.ndarray,
    hessian: np.ndarray,
    order: np.ndarray,
    spec: uniform_grid.GridSpec,
    damping: float,
    layer: str,
    progress: Progress | None,
) -> tuple[Compensated, np.ndarray, Factor]:
    """A group is a run of columns in the order of rounding; its grid is fitted when its turn comes."""
    zero = np.empty(weight.shape, np.float32)

    def table(index: int, columns: np.ndarray, target: np.ndarray) -> np.ndarray:
        fitted = uniform_grid.fit(target, uniform_grid.GridSpec(spec.bits, None, spec.scheme))
        zero[:, columns] = fitted.zero
        return uniform_grid.table(fitted)

    factor = factorize(hessian, _runs(order, spec.width(weight.shape[1])), damping=damping, layer=layer)
    done = compensate(weight, factor, table, progress=progress)
    return done, _levels(done, zero, spec), factor


def _runs(order: np.ndarray, length: int) -> tuple[np.ndarray, ...]:
    return tuple(order[low : low + length] for low in range(0, order.size, length))


def _levels(done: Compensated, zero: np.ndarray, spec: uniform_grid.GridSpec) -> np.ndarray:
    return done.codes.astype(np.int16) + np.int16(spec.low) - zero.astype(np.int16)


def _notes(used: float, asked: float, dead: int) -> tuple[str, ...]:
    notes = []
    if used != asked:
        notes.append(f"damping raised from {asked:g} to {used:g} of the mean diagonal to factor the Hessian")
    if dead:
        notes.append(f"{dead} input features never fired in calibration; their weights are 0")
    return tuple(notes)
