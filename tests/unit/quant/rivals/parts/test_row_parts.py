"""A layer with two Hessians against its two parts, quantized as layers of their own."""

from dataclasses import replace

import numpy as np
import pytest

from haloquant.errors import InputError
from haloquant.quant.hessian import hessian_importance, row_parts
from haloquant.quant.kronecker_loss import kronecker_losses, row_factor
from haloquant.quant.layer import dequantize
from haloquant.quant.rivals.parts.row_parts import NOTE
from haloquant.quant.rivals.registry import rival
from haloquant.quant.rounding.refinement import quantize_weight_refined
from haloquant.quant.sparse import split
from haloquant.quant.tiles import make_grid
from haloquant.quant.transforms.input_scaling import scale_statistics
from haloquant.records import TileMap
from support.calibrated_layer import scaled_inputs_layer
from support.quant_twins import NINE, SIXTEEN

VALUES = np.arange(24) % 3 == 2  # as in GPT-NeoX, value rows are not neighbours


def fused():
    """Return a weight, its statistics with a second Hessian for the value rows, and those of either part."""
    weight, _, known = scaled_inputs_layer()
    _, _, other = scaled_inputs_layer(seed=1)
    both = replace(known, value_hessian=other.hessian, value_rows=VALUES)
    parts = [
        replace(known, fisher=known.fisher[~VALUES]),
        replace(known, fisher=known.fisher[VALUES], hessian=other.hessian),
    ]
    return weight, both, parts


def test_parts_hold_their_rows() -> None:
    weight, both, wanted = fused()
    found = row_parts(both, 24)
    for part, rows, known in zip(found, (~VALUES, VALUES), wanted, strict=True):
        np.testing.assert_array_equal(part.rows, np.nonzero(rows)[0])
        assert part.statistics.value_rows is None
        np.testing.assert_array_equal(part.statistics.hessian, known.hessian)
        np.testing.assert_array_equal(part.statistics.fisher, known.fisher)
        np.testing.assert_array_equal(
            hessian_importance(both)[part.rows], np.repeat(np.diagonal(known.hessian)[None], rows.sum(), 0)
        )
        np.testing.assert_array_equal(row_factor(both)[part.rows], row_factor(known))
    (whole,) = row_parts(wanted[0], 16)
    assert whole.statistics is wanted[0] and weight[whole.rows].base is weight
    with pytest.raises(
        InputError, match="a Hessian of value rows must come with a mask of all 20 rows, not of 24; cal"
    ):
        row_parts(both, 20)


@pytest.mark.parametrize(
    "name", ["gptq-w4-g128", "boa-w3-g128", "spqr-w3", "slim-w3-g128", "zeroquant-local-w3-g128", "fbquant-w3-g128-r8"]
)
def test_a_rival_rounds_each_part_as_a_layer(name: str) -> None:
    weight, both, parts = fused()
    result = rival(name).quantize(weight, both, layer="l")
    assert NOTE in result.notes
    total = 0
    for rows, known in zip((~VALUES, VALUES), parts, strict=True):
        wanted = rival(name).quantize(weight[rows], known, layer="l")
        np.testing.assert_array_equal(result.weight[rows], wanted.weight)
        np.testing.assert_array_equal(result.mac_values[rows], wanted.mac_values)
        total += wanted.bits.total
    assert result.bits.total == total
    assert result.bits.weights == weight.size


def test_awq_keeps_one_scale_for_all_rows() -> None:
    weight, both, _ = fused()
    result = rival("awq-w3-g128").quantize(weight, both, layer="l")
    plain = rival("awq-w3-g128").quantize(weight, replace(both, value_hessian=None, value_rows=None), layer="l")
    assert result.bits == plain.bits
    assert not np.array_equal(result.weight[VALUES], plain.weight[VALUES])


def test_halo_compensates_and_refines_each_part_with_its_hessian() -> None:
    """The tiles of 8 rows hold rows of both parts; each part must come out as if it had such rows alone."""
    weight, both, parts = fused()
    grid, books = make_grid(24, 32, 24, 8), (SIXTEEN, NINE)
    tiles = TileMap("l", grid, np.array([[0, 1, 1, 0]], np.uint8))
    sparse, _ = split(weight, both, layer="l", budget=0.02)
    q = quantize_weight_refined(weight, tiles=tiles, codebooks=books, statistics=both, sparse=sparse)
    found = dequantize(q)
    for rows, known in zip((~VALUES, VALUES), parts, strict=True):
        alone = TileMap("l", make_grid(int(rows.sum()), 32, 24, 8), tiles.codebook)
        place = np.cumsum(rows) - 1
        inside = rows[sparse.rows]
        own = replace(
            sparse,
            rows=place[sparse.rows[inside]].astype(np.int32),
            cols=sparse.cols[inside],
            values=sparse.values[inside],
            scale=sparse.scale[rows],
            kind=sparse.kind[inside],
        )
        wanted = quantize_weight_refined(weight[rows], tiles=alone, codebooks=books, statistics=known, sparse=own)
        np.testing.assert_array_equal(found[rows], dequantize(wanted))
    losses = kronecker_losses(weight, found, both, grid)
    shares = sum(
        kronecker_losses(weight[rows], found[rows], known, make_grid(int(rows.sum()), 32, 24, 8))
        for rows, known in zip((~VALUES, VALUES), parts, strict=True)
    )
    np.testing.assert_allclose(losses, shares, rtol=1e-5)


def test_a_scale_divides_both_hessians() -> None:
    _, both, _ = fused()
    scale = np.exp2(np.arange(32) % 3).astype(np.float32)
    scaled = scale_statistics(both, scale)
    np.testing.assert_array_equal(scaled.value_hessian, both.value_hessian / scale[:, None] / scale)
