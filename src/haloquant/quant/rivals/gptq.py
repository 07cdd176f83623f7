"""GPTQ (arXiv 2210.17323): round column by column; later columns compensate the error of each rounded column."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float32, Int64

from haloquant.quant.format.stored_bits import sparse_bits
from haloquant.quant.hessian import layer_hessian
from haloquant.quant.input_checks import check_setting
from haloquant.quant.rivals.parts.bit_counts import grid_bits, order_bits
from haloquant.quant.rounding import uniform_grid
from haloquant.quant.rounding.compensation import (
    Compensated,
    Factor,
    Levels,
    Progress,
    compensate,
    factorize,
    split_blocks,
)
from haloquant.quant.sparse import mask_of, split
from haloquant.records import BitCount, LayerResult, LayerStatistics, SparseWeights

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
        ranges: "full" grids span their group. "searched" grids span the share of it that has the least rounding error,
            weighted by the Hessian's diagonal.
        sparse: share of the weights that are kept in 8 bits beside the grid, chosen and stored as in HALO
            (`quant.sparse`). The paper has none.
    """

    bits: int = 4
    group: int | None = 128
    scheme: uniform_grid.Scheme = "asymmetric"
    damping: float = 0.01
    order: Literal["natural", "activation"] = "activation"
    groups: Literal["static", "dynamic"] = "static"
    ranges: uniform_grid.Ranges = "full"
    sparse: float = 0.0


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
        CheckpointError: The weight is not a finite matrix.
        InputError: The Hessian is missing, belongs to another layer or cannot be factored, or a setting is out of
            range.
    """
    spec = uniform_grid.checked_spec(weight, config.bits, config.group, config.scheme, layer)
    check_setting("damping", config.damping, 1e-9, 1, layer)
    hessian = layer_hessian(statistics, weight.shape[1], method="gptq")
    dead = np.diag(hessian) <= 0
    alive = weight * ~dead
    width = spec.width(weight.shape[1])
    job = _Job(alive, hessian, spec, config, split(alive, statistics, layer=layer, budget=config.sparse)[0], layer)
    static = config.groups == "static" or width == weight.shape[1]
    rounded, level, factor = (_static if static else _dynamic)(job, progress)
    bits = grid_bits(weight.shape[0], weight.shape[1], spec)
    bits += BitCount(sparse=sparse_bits(job.sparse, weight.shape[0], weight.shape[1]))
    if not static and config.order == "activation":
        bits += BitCount(scales=order_bits(weight.shape[1]))
    notes = _notes(factor.damping, config.damping, int(dead.sum()), config.sparse)
    return LayerResult(layer, rounded.values, bits, mac_values=level, notes=notes, sparse_nnz=job.sparse.values.size)


@dataclass(frozen=True)
class _Job:
    """One layer to round: its weight with dead features at 0, its Hessian and grid, and its sparse part."""

    weight: np.ndarray
    hessian: np.ndarray
    spec: uniform_grid.GridSpec
    config: GptqConfig
    sparse: SparseWeights
    layer: str

    def factorized(self, length: int) -> Factor:
        """Return the factor of the Hessian with columns in order, in blocks of `length`."""
        blocks = split_blocks(column_order(self.hessian, self.config.order), length)
        return factorize(self.hessian, blocks, damping=self.config.damping, layer=self.layer)

    def compensated(
        self, factor: Factor, table: Levels, groups: np.ndarray | None, progress: Progress | None
    ) -> Compensated:
        """Round every column; weights of the sparse part are rounded to its 8 bits instead."""
        keep = mask_of(self.sparse, self.weight.shape[1]) if self.sparse.values.size else None
        step = self.sparse.scale
        return compensate(self.weight, factor, table, groups=groups, keep=keep, keep_step=step, progress=progress)

    def levels(self, rounded: Compensated, zero: np.ndarray) -> np.ndarray:
        """Return code minus zero point; 0 where the sparse part holds the weight."""
        level = rounded.codes.astype(np.int16) + np.int16(self.spec.low) - zero.astype(np.int16)
        level[self.sparse.rows, self.sparse.cols] = 0
        return level


def column_order(
    hessian: Float32[np.ndarray, "in in"], order: Literal["natural", "activation"]
) -> Int64[np.ndarray, " in"]:
    """Return the input features in the order in which they are rounded. Ties keep their natural order."""
    if order == "natural":
        return np.arange(hessian.shape[0])
    return np.argsort(-np.diag(hessian), kind="stable")


def _static(job: _Job, progress: Progress | None) -> tuple[Compensated, np.ndarray, Factor]:
    """Fit all grids first, then round the columns in the given order."""
    dense = job.weight.copy()
    dense[job.sparse.rows, job.sparse.cols] = 0
    fitted = uniform_grid.fit_range(dense, np.diag(job.hessian)[None], job.spec, job.config.ranges)
    table = uniform_grid.table(fitted)
    group_of = np.arange(dense.shape[1]) // job.spec.width(dense.shape[1])
    factor = job.factorized(BLOCK)
    rounded = job.compensated(factor, lambda _index, _columns, _updated: table, group_of, progress)
    return rounded, job.levels(rounded, fitted.zero[:, group_of]), factor


def _dynamic(job: _Job, progress: Progress | None) -> tuple[Compensated, np.ndarray, Factor]:
    """Fit the grid of each run of columns, in the order of rounding, just before the run is rounded."""
    zero = np.empty(job.weight.shape, np.float32)
    kept, diagonal = mask_of(job.sparse, job.weight.shape[1]), np.diag(job.hessian)
    spec = uniform_grid.GridSpec(job.spec.bits, None, job.spec.scheme)

    def table(_index: int, columns: np.ndarray, updated: Callable[[], np.ndarray]) -> np.ndarray:
        dense = np.where(kept[:, columns], np.float32(0), updated())
        fitted = uniform_grid.fit_range(dense, diagonal[columns][None], spec, job.config.ranges)
        zero[:, columns] = fitted.zero
        return uniform_grid.table(fitted)

    factor = job.factorized(job.spec.width(job.weight.shape[1]))
    rounded = job.compensated(factor, table, None, progress)
    return rounded, job.levels(rounded, zero), factor


def _notes(used: float, wanted: float, dead: int, sparse: float) -> tuple[str, ...]:
    """Return the notes on raised damping, on features that were always 0, and on a sparse part."""
    notes = []
    if used != wanted:
        notes.append(f"damping raised from {wanted:g} to {used:g} of the mean diagonal to factor the Hessian")
    if dead:
        notes.append(f"{dead} input features never fired in calibration; their weights are 0")
    if sparse:
        notes.append(f"{sparse:.2%} of the weights in 8 bits beside the grid, chosen as HALO chooses them")
    return tuple(notes)
