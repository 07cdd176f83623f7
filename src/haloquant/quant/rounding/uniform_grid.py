"""Uniform grids: a scale and a zero point per (output feature, group of input features).

The formulas are the usual ones of rounding to nearest (docs/stages/rivals.md). Scales are rounded to float16 before
they are used, because the stored format has float16 scales. So the result equals the stored layer.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float32, Int16

from haloquant.errors import InputError
from haloquant.quant.float16 import LARGEST, SMALLEST
from haloquant.quant.input_checks import check_weight

Scheme = Literal["symmetric", "asymmetric"]
Ranges = Literal["full", "searched"]
_SCALE_BITS = 16
_RATIOS = tuple(1 - i / 40 for i in range(25))  # trial ranges over the full range of a group: 1 down to 0.4


@dataclass(frozen=True, slots=True)
class GridSpec:
    """Fineness of a grid.

    Attributes:
        bits: bits of a code.
        group: input features that share a scale; None means all of them.
        scheme: "symmetric" has no zero point; "asymmetric" has one integer zero point per group.
    """

    bits: int
    group: int | None = 128
    scheme: Scheme = "asymmetric"

    @property
    def low(self) -> int:
        """Least code. A symmetric grid does not use the most negative code, so that its values are symmetric."""
        return -(2 ** (self.bits - 1) - 1) if self.scheme == "symmetric" else 0

    @property
    def high(self) -> int:
        """Greatest code."""
        return 2 ** (self.bits - 1) - 1 if self.scheme == "symmetric" else 2**self.bits - 1

    def width(self, in_features: int) -> int:
        """Input features of one group in a layer of this size."""
        return in_features if self.group is None else min(self.group, in_features)

    def groups(self, in_features: int) -> int:
        """Number of groups along the input; the last group may be smaller."""
        return -(-in_features // self.width(in_features))

    @property
    def bits_per_group(self) -> int:
        """Stored bits of a group's scale and, if the scheme has one, zero point."""
        return _SCALE_BITS + (self.bits if self.scheme == "asymmetric" else 0)


@dataclass(frozen=True)
class Grid:
    """Fitted grid of one matrix. The value of code q is (q - zero) * scale.

    Attributes:
        spec: fineness.
        scale: scale of every group; float16 holds it exactly.
        zero: zero point of every group, an integer in float32; 0 if the scheme is symmetric.
    """

    spec: GridSpec
    scale: Float32[np.ndarray, "out groups"]
    zero: Float32[np.ndarray, "out groups"]


def checked_spec(weight: np.ndarray, bits: int, group: int | None, scheme: Scheme, layer: str) -> GridSpec:
    """Return the grid of these settings, after checking it and the weight that it is for.

    Raises:
        InputError: The grid is not possible (`check_spec`).
        CheckpointError: The weight is not a finite matrix.
    """
    spec = GridSpec(bits, group, scheme)
    check_spec(spec, layer)
    check_weight(weight, layer)
    return spec


def check_spec(spec: GridSpec, layer: str) -> None:
    """Check that a grid is possible.

    Raises:
        InputError: Bits are outside 2..8 (2..7 if asymmetric, so that code minus zero point fits an int8 MAC), or the
            group is below 1.
    """
    most = 8 if spec.scheme == "symmetric" else 7
    if not 2 <= spec.bits <= most:
        article = "a" if spec.scheme == "symmetric" else "an"
        raise InputError(
            f"layer '{layer}': bits of {article} {spec.scheme} grid must be between 2 and {most}, not {spec.bits}"
        )
    if spec.group is not None and spec.group < 1:
        raise InputError(f"layer '{layer}': group must be at least 1 input feature, not {spec.group}")


def fit(weight: Float32[np.ndarray, "out in"], spec: GridSpec) -> Grid:
    """Return the grid that spans the range of every group, 0 included.

    Raises:
        InputError: A scale is above 65504, the largest float16.
    """
    return _spanning(*_range(weight, spec), spec)


def fit_searched(
    weight: Float32[np.ndarray, "out in"], importance: Float32[np.ndarray, "rows in"], spec: GridSpec
) -> Grid:
    """Return the grid whose range, of 25 shares of every group's full range, has the least weighted rounding error.

    Args:
        weight: the matrix, [out, in].
        importance: weight of each squared error, [out, in] or [1, in], for example the diagonal of the layer Hessian.
        spec: fineness of the grid.

    Raises:
        InputError: A scale is above 65504, the largest float16.
    """
    high, low = _range(weight, spec)
    starts = np.arange(0, weight.shape[1], spec.width(weight.shape[1]))
    least = np.full(high.shape, np.inf)
    best = _spanning(high, low, spec)
    for ratio in _RATIOS:
        trial = _spanning(high * np.float32(ratio), low * np.float32(ratio), spec)
        error = values(levels(weight, trial), trial) - weight
        loss = np.add.reduceat(error**2 * importance, starts, axis=1, dtype=np.float64)
        better = loss < least
        least = np.where(better, loss, least)
        best = Grid(spec, np.where(better, trial.scale, best.scale), np.where(better, trial.zero, best.zero))
    return best


def fit_range(
    weight: Float32[np.ndarray, "out in"], importance: Float32[np.ndarray, "rows in"], spec: GridSpec, ranges: Ranges
) -> Grid:
    """Return the grid of the full or of the searched range of every group; see `fit` and `fit_searched`."""
    return fit(weight, spec) if ranges == "full" else fit_searched(weight, importance, spec)


def _range(weight: np.ndarray, spec: GridSpec) -> tuple[np.ndarray, np.ndarray]:
    """Return the largest and the smallest weight of every group, 0 included."""
    starts = np.arange(0, weight.shape[1], spec.width(weight.shape[1]))
    high = np.maximum(np.maximum.reduceat(weight, starts, axis=1), 0)
    return high, np.minimum(np.minimum.reduceat(weight, starts, axis=1), 0)


def _spanning(high: np.ndarray, low: np.ndarray, spec: GridSpec) -> Grid:
    """Return the grid that spans low to high in every group."""
    if spec.scheme == "symmetric":
        scale = stored_scale(np.maximum(high, -low) / np.float32(spec.high))
        return Grid(spec, scale, np.zeros_like(scale))
    scale = stored_scale((high - low) / np.float32(spec.high))
    return Grid(spec, scale, np.clip(np.rint(-low / scale), 0, spec.high).astype(np.float32))


def stored_scale(scale: Float32[np.ndarray, "*shape"]) -> Float32[np.ndarray, "*shape"]:
    """Round scales that are at least 0 to float16. A scale of 0 becomes 1; a tiny one becomes 2^-24, the least float16.

    Raises:
        InputError: A scale is above 65504, the largest float16.
    """
    if scale.size and scale.max() > LARGEST:
        raise InputError(f"scales must be at most 65504, the largest float16, not {scale.max():g}; rescale the layer")
    stored = scale.astype(np.float16).astype(np.float32)
    return np.where(scale == 0, np.float32(1), np.maximum(stored, np.float32(SMALLEST)))


def levels(weight: Float32[np.ndarray, "out in"], grid: Grid) -> Int16[np.ndarray, "out in"]:
    """Return code minus zero point of the nearest value of every weight. A tie goes to the even code.

    An int8 MAC multiplies with these integers. The zero point is subtracted before the weight is loaded, so the result
    needs no correction by the sum of the activations.
    """
    result = np.empty(weight.shape, np.int16)
    width = grid.spec.width(weight.shape[1])
    for g in range(grid.scale.shape[1]):
        part = slice(g * width, (g + 1) * width)
        scale, zero = grid.scale[:, g : g + 1], grid.zero[:, g : g + 1]
        code = np.clip(np.rint(weight[:, part] / scale) + zero, grid.spec.low, grid.spec.high)
        result[:, part] = code - zero
    return result


def table(grid: Grid) -> Float32[np.ndarray, "out groups codes"]:
    """Return every value that each group can take, ascending."""
    codes = np.arange(grid.spec.low, grid.spec.high + 1, dtype=np.float32)
    return (codes - grid.zero[:, :, None]) * grid.scale[:, :, None]


def values(level: Int16[np.ndarray, "out in"], grid: Grid) -> Float32[np.ndarray, "out in"]:
    """Return level times scale of its group."""
    result = level.astype(np.float32)
    width = grid.spec.width(level.shape[1])
    for g in range(grid.scale.shape[1]):
        result[:, g * width : (g + 1) * width] *= grid.scale[:, g : g + 1]
    return result


def round_to_grid(
    weight: Float32[np.ndarray, "out in"], spec: GridSpec
) -> tuple[Float32[np.ndarray, "out in"], Int16[np.ndarray, "out in"]]:
    """Fit a grid to a weight and round to nearest; return the values and their levels.

    Raises:
        InputError: A scale is above 65504, the largest float16.
    """
    fitted = fit(weight, spec)
    level = levels(weight, fitted)
    return values(level, fitted), level
