"""Counts of stored bits: everything that a file of the layer would have to hold."""

import numpy as np

from haloquant.quant.rounding.uniform_grid import GridSpec
from haloquant.records import BitCount


def grid_bits(out_features: int, in_features: int, spec: GridSpec) -> BitCount:
    """Return the bits of a matrix on a uniform grid: codes without gaps, and a scale (and zero point) per group."""
    weights = out_features * in_features
    scales = out_features * spec.groups(in_features) * spec.bits_per_group
    return BitCount(weights=weights, codes=weights * spec.bits, scales=scales)


def csr_bits(nonzeros: int, out_features: int, in_features: int, value_bits: int) -> int:
    """Return the bits of a compressed-sparse-row matrix; 0 if it is empty.

    A column takes 16 bits, or 32 with more than 65536 input features. A row pointer takes 32 bits.
    """
    if nonzeros == 0:
        return 0
    column_bits = 16 if in_features <= 65536 else 32
    return nonzeros * (value_bits + column_bits) + 32 * (out_features + 1)


def branch_bits(out_features: int, in_features: int, rank: int, value_bits: int = 16) -> int:
    """Return the bits of a low-rank side branch B A, with B [out, rank] and A [rank, in]."""
    return rank * (out_features + in_features) * value_bits


def order_bits(in_features: int) -> int:
    """Return the bits of a stored permutation of the input features, which groups in the order of rounding need."""
    return in_features * int(np.ceil(np.log2(max(in_features, 2))))
