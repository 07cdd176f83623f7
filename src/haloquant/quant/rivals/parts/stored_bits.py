"""Honest bit counts: what a file would really have to hold, nothing amortised away."""

import numpy as np

from haloquant.quant.rivals.parts.uniform_grid import GridSpec
from haloquant.records import BitCount


def grid_bits(out_features: int, in_features: int, spec: GridSpec) -> BitCount:
    """Bits of a matrix on a uniform grid: codes packed without gaps, one scale (and zero point) a group."""
    weights = out_features * in_features
    scales = out_features * spec.groups(in_features) * spec.bits_per_group
    return BitCount(weights=weights, codes=weights * spec.bits, scales=scales)


def csr_bits(nonzeros: int, out_features: int, in_features: int, value_bits: int) -> int:
    """Bits of a compressed-sparse-row matrix: values, 16-bit columns (32 above 65536 features), 32-bit row pointers."""
    if nonzeros == 0:
        return 0
    column_bits = 16 if in_features <= 65536 else 32
    return nonzeros * (value_bits + column_bits) + 32 * (out_features + 1)


def branch_bits(out_features: int, in_features: int, rank: int, value_bits: int = 16) -> int:
    """Bits of a low-rank side branch B A, B [out, rank] and A [rank, in]."""
    return rank * (out_features + in_features) * value_bits


def order_bits(in_features: int) -> int:
    """Bits of a stored permutation of the input features (the group of every column, when groups follow the order)."""
    return in_features * int(np.ceil(np.log2(max(in_features, 2))))
