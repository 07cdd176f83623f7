"""GPTQ (arXiv 2210.17323): round column by column; later columns compensate the error of each rounded column."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float32, Int64

from haloquant.quant.hessian import layer_hessian
from haloquant.quant.input_checks import check_setting
from haloquant.quant.rivals.parts.bit_counts import grid_bits, order_bits
from haloquant.quant.rounding import uniform_grid
from haloquant.quant.rounding.compensation import Compensated, Factor, Progress, compensate, factorize, split_blocks
from haloquant.records import BitCount, LayerResult, LayerStatistics

BLOCK = 128  # columns whose errors are passed on to later columns in one matrix product


@dataclass(frozen=True, slots=True)
class GptqConfig:
    """Settings of the grid, and how columns are rounded.

    Attributes:
        bits: bits of a code.
        group: input features per scale; None means the whole row.
        scheme: scheme of the grid.
        damping: share of the Hessian's mean diagonal that is added to its diagonal.
        order: "activation" rounds the features with the greatest Hessian diagonal first; "natural" from first to last.
        groups: "static" fits every group's grid to the weights before any is rounded, and a group is a run of
            neighbouring features under any order. "dynamic" fits a grid to the compensated weights when its group
            begins, and a group is a run of features in the order of rounding.
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
    """Quantize one layer by GPTQ.

    Args:
        weight: [out, in], finite.
        statistics: with the Hessian (2/T) X X^T. Features that were always 0 (zero diagonal) get weight 0.
        config: settings.
        layer: name of the layer in the result and in error messages.
        progress: called with (finished blocks of columns, blocks).

    Returns:
        The result; `mac_values` are the signed levels.

    Raises:
        CheckpointError: the weight is not a finite matrix.
        InputError: the Hessian is missing, belongs to another layer or cannot be factored, or a setting is out of
            range.
    """
    spec = uniform_grid.checked_spec(weight, config.bits, config.group, config.scheme, layer)
    check_setting("damping", config.damping, 1e-9, 1, layer)
    hessian = layer_hessian(statistics, weight.shape[1], method="gptq")
    dead = np.diag(hessian) <= 0
    alive = weight * ~dead
    width = spec.width(weight.shape[1])
    order = column_order(hessian, config.order)
    if config.groups == "static" or width == weight.shape[1]:
        rounded, level, factor = _static(alive, hessian, order, spec, config.damping, layer, progress)
    else:
        rounded, level, factor = _dynamic(alive, hessian, order, spec, config.damping, layer, progress)
    bits = grid_bits(weight.shape[0], weight.shape[1], spec)
    if config.groups == "dynamic" and config.order == "activation" and width < weight.shape[1]:
        bits += BitCount(scales=order_bits(weight.shape[1]))
    notes = _notes(factor.damping, config.damping, int(dead.sum()))
    return LayerResult(layer=layer, weight=rounded.values, bits=bits, mac_values=level, notes=notes)


def column_order(
    hessian: Float32[np.ndarray, "in in"], order: Literal["natural", "activation"]
) -> Int64[np.ndarray, " in"]:
    """Return the input features in the order in which they are rounded. Ties keep their natural order."""
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
    """Fit all grids first, then round the columns in the given order."""
    fitted = uniform_grid.fit(weight, spec)
    table = uniform_grid.table(fitted)
    group_of = np.arange(weight.shape[1]) // spec.width(weight.shape[1])
    factor = factorize(hessian, split_blocks(order, BLOCK), damping=damping, layer=layer)
    rounded = compensate(weight, factor, lambda index, columns, target: table, groups=group_of, progress=progress)
    return rounded, _levels(rounded, fitted.zero[:, group_of], spec), factor


def _dynamic(
    weight: np.ndarray,
    hessian: np.ndarray,
    order: np.ndarray,
    spec: uniform_grid.GridSpec,
    damping: float,
    layer: str,
    progress: Progress | None,
) -> tuple[Compensated, np.ndarray, Factor]:
    """Fit the grid of each run of columns, in the order of rounding, just before the run is rounded."""
    zero = np.empty(weight.shape, np.float32)

    def table(index: int, columns: np.ndarray, target: np.ndarray) -> np.ndarray:
        fitted = uniform_grid.fit(target, uniform_grid.GridSpec(spec.bits, None, spec.scheme))
        zero[:, columns] = fitted.zero
        return uniform_grid.table(fitted)

    factor = factorize(hessian, split_blocks(order, spec.width(weight.shape[1])), damping=damping, layer=layer)
    rounded = compensate(weight, factor, table, progress=progress)
    return rounded, _levels(rounded, zero, spec), factor


def _levels(rounded: Compensated, zero: np.ndarray, spec: uniform_grid.GridSpec) -> np.ndarray:
    """Return code minus zero point."""
    return rounded.codes.astype(np.int16) + np.int16(spec.low) - zero.astype(np.int16)


def _notes(used: float, wanted: float, dead: int) -> tuple[str, ...]:
    """Return the notes on raised damping and on features that were always 0."""
    notes = []
    if used != wanted:
        notes.append(f"damping raised from {wanted:g} to {used:g} of the mean diagonal to factor the Hessian")
    if dead:
        notes.append(f"{dead} input features never fired in calibration; their weights are 0")
    return tuple(notes)
