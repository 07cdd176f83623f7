"""Stored bits of the rival methods' parts, by hand."""

from haloquant.quant.rivals.parts.bit_counts import branch_bits, csr_bits, grid_bits, order_bits
from haloquant.quant.rounding.uniform_grid import GridSpec


def test_bits_by_hand() -> None:
    bits = grid_bits(2, 300, GridSpec(3, 128))
    assert (bits.weights, bits.codes, bits.scales) == (600, 1800, 2 * 3 * 19)
    assert csr_bits(0, 10, 10, 16) == 0
    assert csr_bits(5, 10, 100, 16) == 5 * 32 + 11 * 32
    assert csr_bits(5, 10, 70_000, 16) == 5 * 48 + 11 * 32
    assert branch_bits(10, 20, 3) == 3 * 30 * 16
    assert order_bits(100) == 700
