"""Uniform grids: a scale and a zero point per (output feature, group of input features).

The formulas are those every round-to-nearest library uses (RTN in docs/stages/rivals.md). Scales are rounded to float16
before anything is rounded with them, because that is how they are stored; a grid therefore never promises a precision
that its bits do not pay for.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float32, Int16

from haloquant.errors import InputError

Scheme = Literal["symmetric", "asymmetric"]
SCALE_BITS = 16
SMALLEST_SCALE = 2.0**-24  # least positive float16


@dataclass(frozen=True, slots=True)
class GridSpec:
    """How fine a grid is: `bits` a code, `group` input features a scale (None: the whole row)."""

    bits: int
    group: int | None = 128
    scheme: Scheme = "asymmetric"

    @property
    def low(self) -> int:
        """Least code. A symmetric grid leaves the most negative word unused, so that it mirrors."""
        return -(2 ** (self.bits - 1) - 1) if self.scheme == "symmetric" else 0

    @property
    def high(self) -> int:
        """Greatest code."""
        return 2 ** (self.bits - 1) - 1 if self.scheme == "symmetric" else 2**self.bits - 1

    def width(self, in_features: int) -> int:
        """Input features of one group in a layer of this size."""
        return in_features if self.group is None else min(self.group, in_features)

    def groups(self, in_features: int) -> int:
        """Number of groups along the input; the last may be cut short."""
        return -(-in_features // self.width(in_features))

    @property
    def bits_per_group(self) -> int:
        """Stored bits of one group's scale and, where there is one, zero point."""
        return SCALE_BITS + (self.bits if self.scheme == "asymmetric" else 0)


@dataclass(frozen=True)
class Grid:
    """The fitted grid of one matrix. Level q - zero times scale is the value; `zero` is an integer in float32."""

    spec: GridSpec
    scale: Float32[np.ndarray, "out groups"]
    zero: Float32[np.ndarray, "out groups"]


def check_spec(spec: GridSpec, layer: str) -> None:
    """Refuse a grid that cannot exist.

    Raises:
        InputError: bits outside 2..8 (2..7 asymmetric, so that code minus zero point fits an int8 MAC), or a group
            below 1.
    """
    most = 8 if spec.scheme == "symmetric" else 7
    if not 2 <= spec.bits <= most:
        raise InputError(f"layer '{layer}': bits of a {spec.scheme} grid must be between 2 and {most}, not {spec.bits}")
    if spec.group is not None and spec.group < 1:
        raise InputError(f"layer '{layer}': group must be at least 1 input feature, not {spec.group}")


def fit(weight: Float32[np.ndarray, "out in"], spec: GridSpec) -> Grid:
    """The grid that spans every group's range, 0 included.

    Args:
        weight: the matrix.
        spec: bits, group and scheme.

    Returns:
        Grid: scales [out, groups] representable in float16; zero points 0 where the scheme is symmetric.

    Raises:
        InputError: a scale would leave the range of float16.
    """
    starts = np.arange(0, weight.shape[1], spec.width(weight.shape[1]))
    high = np.maximum(np.maximum.reduceat(weight, starts, axis=1), 0)
    low = np.minimum(np.minimum.reduceat(weight, starts, axis=1), 0)
    scale, zero = from_range(low, high, spec)
    return Grid(spec, scale, zero)


def from_range(
    low: Float32[np.ndarray, "*shape"], high: Float32[np.ndarray, "*shape"], spec: GridSpec
) -> tuple[Float32[np.ndarray, "*shape"], Float32[np.ndarray, "*shape"]]:
    """Scale and zero point of a range that contains 0, as `fit` takes them."""
    if spec.scheme == "symmetric":
        scale = half(np.maximum(high, -low) / np.float32(spec.high))
        return scale, np.zeros_like(scale)
    scale = half((high - low) / np.float32(spec.high))
    zero = np.clip(np.rint(-low / scale), 0, spec.high).astype(np.float32)
    return scale, zero


def half(scale: Float32[np.ndarray, "*shape"]) -> Float32[np.ndarray, "*shape"]:
    """Round scales to float16, as stored. A group of zeros gets scale 1; a tiny range the least positive float16.

    Raises:
        InputError: a scale above 65504, the largest float16.
    """
    if scale.size and scale.max() > 65504:
        raise InputError(f"scales must be at most 65504, the largest float16, not {scale.max():g}; rescale the layer")
    stored = scale.astype(np.float16).astype(np.float32)
    return np.where(scale == 0, np.float32(1), np.maximum(stored, np.float32(SMALLEST_SCALE)))


def levels(weight: Float32[np.ndarray, "out in"], grid: Grid) -> Int16[np.ndarray, "out in"]:
    """The signed integers (code minus zero point) nearest to the weights; ties go to the even code.

    These are what an int8 MAC multiplies with: the zero point is subtracted before the weight is loaded, so that the
    result needs no correction by the sum of the activations.
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
    """Every value that each group can take, ascending: level times scale for all codes from low to high."""
    codes = np.arange(grid.spec.low, grid.spec.high + 1, dtype=np.float32)
    return (codes - grid.zero[:, :, None]) * grid.scale[:, :, None]


def values(level: Int16[np.ndarray, "out in"], grid: Grid) -> Float32[np.ndarray, "out in"]:
    """What the levels mean: level times its group's scale."""
    result = level.astype(np.float32)
    width = grid.spec.width(level.shape[1])
    for g in range(grid.scale.shape[1]):
        result[:, g * width : (g + 1) * width] *= grid.scale[:, g : g + 1]
    return result
