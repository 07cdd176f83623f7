"""The longest dot product that a MAC's integer accumulator holds without overflow."""

import numpy as np

from haloquant.errors import InfeasibleError, InputError
from haloquant.records import Codebook


def longest_accumulation(largest_weight: int, activation_bits: int = 8, accumulator_bits: int = 32) -> int:
    """Return how many products a signed accumulator holds for certain: floor((2^(b-1) - 1) / (|w| 2^(a-1))).

    b is `accumulator_bits`, a is `activation_bits`, |w| is `largest_weight`. The worst case is assumed: every product
    is as large as |w| x 2^(a-1).

    Raises:
        InputError: A size is below 1.
    """
    if min(largest_weight, activation_bits, accumulator_bits) < 1:
        raise InputError(
            f"sizes for the accumulator bound must be at least 1, not weight {largest_weight}, "
            f"activation bits {activation_bits}, accumulator bits {accumulator_bits}"
        )
    return ((1 << (accumulator_bits - 1)) - 1) // (largest_weight << (activation_bits - 1))


def check_accumulation(layer: str, terms: int, codebooks: tuple[Codebook, ...], accumulator_bits: int = 32) -> None:
    """Check that the dot products of a layer cannot overflow the accumulator.

    Args:
        layer: name of the layer in the error.
        terms: number of products in one integer sum. If every tile has its own scale, this is the length of a tile
            along the inputs. With one scale per output channel it is the number of input features.
        codebooks: codebooks of the layer; their largest magnitude counts.
        accumulator_bits: width of the accumulator.

    Raises:
        InfeasibleError: A sum of `terms` products may overflow.
    """
    largest = max(int(np.abs(codebook.values).max()) for codebook in codebooks)
    bound = longest_accumulation(largest, 8, accumulator_bits)
    if terms > bound:
        raise InfeasibleError(
            f"accumulation of {layer} must be at most {bound} products of weights up to {largest} in "
            f"{accumulator_bits} bits, "
            f"not {terms}; choose a shorter tile or a wider accumulator"
        )
