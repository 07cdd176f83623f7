"""What the quantizer refuses, and the sentences that say so."""

import numpy as np
import pytest

from haloquant.errors import CheckpointError, InfeasibleError, InputError
from haloquant.quant.layer import quantize_weight
from haloquant.quant.tiles import make_grid, uniform_map
from support.quant_twins import NINE, SIXTEEN, book, random_weight, tile_map

BOOKS = (SIXTEEN, NINE)


def test_weights_beyond_float16_are_refused() -> None:
    weight = np.full((2, 4), 3e38, np.float32)  # whose sum overflows float32, and is no infinite weight for that
    with pytest.raises(CheckpointError, match="must be at most 65504 in magnitude, as scales are stored in float16"):
        quantize_weight(weight, tiles=tile_map((2, 4), 4, 4), codebooks=(NINE,))


@pytest.mark.parametrize(("value", "count"), [(np.nan, 1), (np.inf, 3)])
def test_not_finite(value, count) -> None:
    weight = random_weight(0, 8, 8)
    weight.ravel()[:count] = value
    with pytest.raises(CheckpointError) as caught:
        quantize_weight(weight, tiles=tile_map((8, 8), 4, 4), codebooks=BOOKS)
    assert str(caught.value) == (
        f"weight of layer must be finite, not NaN or infinite in {count} of 64 places: the checkpoint is damaged or "
        "overflowed when it was saved"
    )


def test_empty() -> None:
    with pytest.raises(CheckpointError, match="must be a matrix"):
        quantize_weight(np.empty((0, 4), np.float32), tiles=uniform_map("layer", make_grid(1, 4)), codebooks=BOOKS)


def test_wrong_grid() -> None:
    with pytest.raises(InputError) as caught:
        quantize_weight(random_weight(0, 8, 8), tiles=tile_map((8, 9), 4, 4), codebooks=BOOKS)
    assert str(caught.value) == "tile grid of layer must be for a weight of shape (8, 8), not (8, 9)"


def test_wrong_class() -> None:
    with pytest.raises(InputError) as caught:
        quantize_weight(random_weight(0, 8, 8), tiles=tile_map((8, 8), 4, 4, 2), codebooks=BOOKS)
    assert str(caught.value) == "class map of layer must name classes below 2, not 2"


def test_codebook_with_nothing_but_zero() -> None:
    with pytest.raises(InfeasibleError) as caught:
        quantize_weight(random_weight(0, 8, 8), tiles=tile_map((8, 8), 4, 4), codebooks=(book([0], "fast"),))
    assert str(caught.value) == (
        "codebook fast must hold a value other than 0: at 1e+09 Hz no other weight meets timing; "
        "choose a lower frequency or a smaller margin"
    )


@pytest.mark.parametrize("values", [[1, 2], [0, 2, 1], [0, 0, 1], []])
def test_codebook_must_ascend_with_zero(values) -> None:
    with pytest.raises(InputError, match="must be ascending values with 0 among them"):
        quantize_weight(random_weight(0, 8, 8), tiles=tile_map((8, 8), 4, 4), codebooks=(book(values),))
