"""Bit operations of a layer (BOPs and EBOPs): cost measures that need no machine.

BOPs: m n (p b_a b_w + b_a + b_w + log2 n) per layer with n inputs and m outputs, where p is the share of weights that
are not zero (Hawks et al., "Ps and Qs", Frontiers in AI 2021, arXiv 2102.11289).
EBOPs: sum over executed multiplications of b_i b_j, where a constant counts the bits from its first to its last
non-zero bit (HGQ, arXiv 2405.00645). On an FPGA EBOPs is about LUT + 55 DSP.
"""

import math

import numpy as np
from jaxtyping import Int16, Int64

from haloquant.errors import InputError
from haloquant.records import LayerTiles


def enclosed_bits(values: Int16[np.ndarray, " v"]) -> Int64[np.ndarray, " v"]:
    """Return the bits of each magnitude from its first to its last non-zero bit: 0 for 0, 1 for 64, 7 for 127."""
    magnitude = np.abs(values.astype(np.int64))
    odd = magnitude // np.where(magnitude > 0, magnitude & -magnitude, 1)
    return np.where(magnitude > 0, np.floor(np.log2(np.maximum(odd, 1))).astype(np.int64) + 1, 0)


def ebops(tiles: LayerTiles, activation_bits: int = 8) -> int:
    """Return the effective bit operations (EBOPs) of one token through a layer, with its sparse part in 8 bits.

    Raises:
        InputError: The activation bits are not positive.
    """
    _positive(activation_bits)
    counts = tiles.histogram.sum(axis=(0, 1))
    dense = int((counts * enclosed_bits(tiles.values)).sum())
    return (dense + 8 * tiles.sparse_nnz) * activation_bits


def bops(tiles: LayerTiles, activation_bits: int | float = 8) -> float:
    """Return the bit operations (BOPs) of one token through a layer. Weight bits are those that hold all its values.

    A side branch of rank r counts as r (in + out) further weights of 16 bits, whose sums have `in` and r terms.

    Raises:
        InputError: The activation bits are not positive.
    """
    _positive(activation_bits)
    counts = tiles.histogram.sum(axis=(0, 1))
    grid = tiles.grid
    weights = grid.out_features * grid.in_features
    nonzero = int(counts[tiles.values != 0].sum()) + tiles.sparse_nnz
    used = tiles.values[counts > 0].astype(np.int64)
    weight_bits = max(signed_bits(used), 1)
    share = nonzero / weights
    dense = weights * (
        share * activation_bits * weight_bits + activation_bits + weight_bits + math.log2(grid.in_features)
    )
    if not tiles.branch_rank:
        return dense
    terms = (grid.in_features, tiles.branch_rank), (tiles.branch_rank, grid.out_features)
    return dense + sum(
        inputs * outputs * (16 * activation_bits + activation_bits + 16 + math.log2(inputs))
        for inputs, outputs in terms
    )


def signed_bits(values: Int64[np.ndarray, " v"]) -> int:
    """Return the bits of the two's complement that holds all values, without their common trailing zeros."""
    if not len(values) or not bool(np.any(values)):
        return 0
    common = int(np.bitwise_or.reduce(np.abs(values)))
    shift = (common & -common).bit_length() - 1
    low, high = int(values.min()) >> shift, int(values.max()) >> shift
    return max((-low - 1).bit_length() if low < 0 else 0, high.bit_length()) + 1


def _positive(activation_bits: int | float) -> None:
    if activation_bits < 1:
        raise InputError(f"activation_bits must be at least 1, not {activation_bits}")
