"""Activation transitions as pairs of values, and the index by which `circuits.simulation.stimuli` counts them."""

import numpy as np
from jaxtyping import Int16, Int32


def transition_index(
    before: Int16[np.ndarray, " n"], after: Int16[np.ndarray, " n"], bits: int
) -> Int32[np.ndarray, " n"]:
    """Return the index of each transition from activation `before` to `after` (two's complement, `bits` wide)."""
    index = np.zeros(before.shape, np.int32)
    for bit in range(bits):
        digit = (before >> bit & 1) + 2 * (after >> bit & 1)
        index |= digit.astype(np.int32) << (2 * bit)
    return index


def all_transitions(bits: int) -> tuple[Int16[np.ndarray, " n"], Int16[np.ndarray, " n"]]:
    """Return the activation before and the activation after each of the 4**bits transitions, in index order."""
    index = np.arange(4**bits)
    before = np.zeros(index.size, np.int64)
    after = np.zeros(index.size, np.int64)
    for bit in range(bits):
        before |= (index >> (2 * bit) & 1) << bit
        after |= (index >> (2 * bit + 1) & 1) << bit
    sign = 1 << (bits - 1)
    return ((before ^ sign) - sign).astype(np.int16), ((after ^ sign) - sign).astype(np.int16)
