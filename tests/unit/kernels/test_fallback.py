"""The slow twins against the quantizer's own meaning of the format, and at the largest whole numbers."""

import numpy as np
import pytest
import torch

from haloquant.kernels import dispatch, fallback
from haloquant.quant import layer as weight
from support.halo_layers import codebook, random_layer
from support.near import near
from support.packed_layers import CASES, KINDS, layer, view


@KINDS
@CASES
def test_reference_means_what_the_quantizer_means(shape, books) -> None:
    q, packed = layer(shape, books)
    assert np.array_equal(fallback.unpack_codes(packed).numpy(), q.codes)
    assert np.array_equal(fallback.dequantize(packed).numpy(), weight.dequantize(q))
    values = fallback.unpack_values(packed).numpy()
    assert np.array_equal(values, weight.mac_values(q).astype(np.float32))


def test_integer_path_at_its_extremes() -> None:
    """Every product at its largest: 128 x -128 x -128 = 2^21 stays exact in float32."""
    book = codebook((-128, 0, 127))
    q = random_layer(128, 256, 128, (book,), sparse=0)
    q.codes[:] = 0
    packed = view(q)
    x = torch.full((1, 256), -128, dtype=torch.int8)
    assert fallback.integer_tile_sums(x, packed).eq(128 * 128 * 128).all()
    one = torch.ones(1)
    assert torch.equal(dispatch.integer_linear(x, one, packed), fallback.integer_linear(x, one, packed))


def test_few_tokens_at_a_time_give_the_same_sparse_sums(monkeypatch: pytest.MonkeyPatch) -> None:
    packed = layer((130, 172, 128), "two", 0.05)[1]
    tokens = torch.randint(-128, 128, (7, 172), dtype=torch.int8, generator=torch.Generator().manual_seed(0))
    whole = fallback.integer_sparse_sums(tokens, packed)
    monkeypatch.setattr(fallback, "MOST_PRODUCTS", 1)
    assert torch.equal(fallback.integer_sparse_sums(tokens, packed), whole)
    assert whole.any()


def test_tokens_are_rounded_to_the_largest_of_each() -> None:
    codes, scale = fallback.round_tokens(torch.tensor([[1.0, -2.0, 0.5], [0.0, 0.0, 0.0]]))
    assert codes.tolist() == [[64, -127, 32], [0, 0, 0]]  # 63.5 and 31.75
    assert scale.tolist() == near([2 / 127, 1])
