"""One layer into HALO form: meaning, bits, histograms, and what is refused."""

import numpy as np
import pytest

from haloquant.errors import CheckpointError, InfeasibleError, InputError
from haloquant.quant.format.packing import pack, packed_bits, unpack
from haloquant.quant.format.stored_bits import count_bits
from haloquant.quant.layer import dequantize, mac_values, quantize_weight, quantize_weight_compensated, result
from haloquant.quant.sparse import split
from haloquant.quant.tiles import check_accumulation, layer_tiles, longest_accumulation, make_grid, padding, uniform_map
from support.quant_twins import NINE, SIXTEEN, book, random_statistics, random_weight, tile_map

BOOKS = (SIXTEEN, NINE)


def made(shape=(50, 70), tile=32, classes=0, sparse=False, seed=0):
    weight = random_weight(seed, *shape)
    part = split(weight, random_statistics(seed, *shape))[0] if sparse else None
    classes = (
        np.random.default_rng(seed).integers(0, 2, (-(-shape[0] // tile), -(-shape[1] // tile)))
        if classes is None
        else classes
    )
    return weight, quantize_weight(weight, tiles=tile_map(shape, tile, tile, classes), codebooks=BOOKS, sparse=part)


def test_by_hand() -> None:
    # One row, one tile, words -128 0 64: with scale 1/64 the weights -2, 0, 1 are met exactly.
    weight = np.array([[-2.0, 0.0, 1.0, 1.0]], np.float32)
    q = quantize_weight(weight, tiles=tile_map((1, 4), 4, 4), codebooks=(book([-128, 0, 64]),))
    assert q.codes.tolist() == [[0, 1, 2, 2]]
    assert q.scale.tolist() == [[1 / 64]]
    assert dequantize(q).tolist() == weight.tolist()
    assert mac_values(q).tolist() == [[-128, 0, 64, 64]]


def test_a_lopsided_set_is_turned_around() -> None:
    # The long side of the words is negative, that of the weights positive.
    weight = np.array([[2.0, 0.0, -1.0, -1.0]], np.float32)
    q = quantize_weight(weight, tiles=tile_map((1, 4), 4, 4), codebooks=(book([-128, 0, 64]),))
    assert q.scale.tolist() == [[-1 / 64]]
    assert dequantize(q).tolist() == weight.tolist()


def test_meaning_word_by_word() -> None:
    _, q = made(classes=None, sparse=True)
    want = np.zeros(q.codes.shape, np.float32)
    for o in range(q.codes.shape[0]):
        for i in range(q.codes.shape[1]):
            words = BOOKS[q.tiles.codebook[o // 32, i // 32]].values
            want[o, i] = np.float32(words[q.codes[o, i]]) * q.scale[o, i // 32]
    for row, col, value in zip(q.sparse.rows, q.sparse.cols, q.sparse.values, strict=True):
        assert want[row, col] == 0
        want[row, col] = value * q.sparse.scale[row]
    assert np.array_equal(dequantize(q), want)


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("shape", [(50, 70), (128, 128), (1, 7), (300, 33)])
def test_bits_are_those_of_the_packed_format(shape, sparse) -> None:
    _, q = made(shape, classes=None, sparse=sparse)
    packed = pack(q)
    assert count_bits(q) == packed_bits(packed, BOOKS)
    assert np.array_equal(dequantize(unpack(packed, "layer", BOOKS, 32, 32)), dequantize(q))


def test_bits_of_whole_tiles_by_hand() -> None:
    sixteen = made((128, 256), 128, 0)[1]
    bits = count_bits(sixteen)
    assert bits.codes == 4 * 128 * 256
    assert bits.scales == 16 * 128 * 2
    nine = made((256, 512), 128, 1)[1]
    # Of 128 rows, 125 go five to a 16-bit word and 3 in nibbles: (25 x 16 + 3 x 4) / 128 = 3.21875 bits.
    assert count_bits(nine).codes == 3.21875 * 256 * 512
    assert count_bits(nine).per_weight < 3.35


def test_histogram_counts_padding_as_zero() -> None:
    _, q = made((50, 70), 32, None, sparse=True)
    tiles = layer_tiles(q)
    assert tiles.histogram.shape == (2, 3, tiles.values.size)
    assert np.all(tiles.histogram.sum(axis=2) == 32 * 32)
    values = mac_values(q)
    padded = np.zeros((64, 96), np.int16)
    padded[:50, :70] = values
    for d in range(2):
        for a in range(3):
            block = padded[d * 32 : d * 32 + 32, a * 32 : a * 32 + 32]
            assert tiles.histogram[d, a].tolist() == [int((block == value).sum()) for value in tiles.values]
    assert tiles.sparse_nnz == q.sparse.values.size
    assert tiles.bits == count_bits(q)


def test_padding_is_counted_and_reported() -> None:
    grid = make_grid(50, 70, 32, 32)
    assert padding(grid) == 64 * 96 - 50 * 70
    assert padding(make_grid(64, 96, 32, 32)) == 0
    _, q = made()
    assert result(q).notes == (f"{64 * 96 - 50 * 70} places of 6 tiles are padding",)


def test_a_layer_smaller_than_a_tile() -> None:
    weight, q = made((3, 5), 128)
    assert q.scale.shape == (3, 1)
    assert np.abs(dequantize(q) - weight).max() < np.abs(weight).max() / 4
    assert layer_tiles(q).histogram.sum() == 128 * 128


def test_zero_tiles_stay_zero() -> None:
    weight = random_weight(1, 64, 64)
    weight[:32] = 0
    statistics = random_statistics(1, 64, 64)
    for q in (
        quantize_weight(weight, tiles=tile_map((64, 64), 32, 32), codebooks=BOOKS),
        quantize_weight_compensated(weight, tiles=tile_map((64, 64), 32, 32), codebooks=BOOKS, statistics=statistics),
    ):
        assert not dequantize(q)[:32].any()
        assert not mac_values(q)[:32].any()
        assert not q.scale[:32].any()


def test_weights_too_small_for_float16_scales() -> None:
    weight = random_weight(2, 16, 32) * np.float32(1e-6)
    q = quantize_weight(weight, tiles=tile_map((16, 32), 32, 32), codebooks=(NINE,))
    assert np.array_equal(q.scale, q.scale.astype(np.float16).astype(np.float32))
    assert np.sum((dequantize(q) - weight) ** 2) <= np.sum(weight**2)


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
        "codebook fast must hold a value beside 0: at 1e+09 Hz no other weight meets timing; a lower frequency or a "
        "smaller margin would do"
    )


@pytest.mark.parametrize("values", [[1, 2], [0, 2, 1], [0, 0, 1], []])
def test_codebook_must_ascend_with_zero(values) -> None:
    with pytest.raises(InputError, match="must be ascending values with 0 among them"):
        quantize_weight(random_weight(0, 8, 8), tiles=tile_map((8, 8), 4, 4), codebooks=(book(values),))


def test_grid_sizes() -> None:
    with pytest.raises(InputError) as caught:
        make_grid(4, 4, 0, 4)
    assert str(caught.value) == "tile grid must have sizes of at least 1, not 4 x 4 in tiles of 0 x 4"


def test_accumulator_bound() -> None:
    # 2^31 - 1 over 128 x 128 = 131071.99: one product more could be 131072 x 16384 = 2^31.
    assert longest_accumulation(128) == 131071
    assert longest_accumulation(64) == 262143
    assert longest_accumulation(128, 8, 24) == 511
    check_accumulation("layer", 511, (NINE,), 24)
    with pytest.raises(InfeasibleError) as caught:
        check_accumulation("layer", 512, (NINE,), 24)
    assert str(caught.value) == (
        "accumulation of layer must be at most 511 products of weights up to 128 in 24 bits, not 512: a shorter "
        "tile or "
        "a wider accumulator would do"
    )
    with pytest.raises(InputError, match="at least 1"):
        longest_accumulation(0)


def test_no_hessian_no_compensation() -> None:
    from dataclasses import replace

    statistics = replace(random_statistics(0, 8, 8), hessian=None, source="fisher alone")
    with pytest.raises(InputError) as caught:
        quantize_weight_compensated(
            random_weight(0, 8, 8), tiles=tile_map((8, 8), 4, 4), codebooks=BOOKS, statistics=statistics
        )
    assert str(caught.value) == (
        "statistics of layer must hold a Hessian for error compensation, not only 'fisher alone': calibrate with layer "
        "inputs, or round to nearest"
    )


def test_weights_beyond_a_float16_scale_are_refused() -> None:
    """Without this check the scales are clipped to 65504, and the weights come out wrong."""
    weight = np.array([[1.0, -1e30], [2.0, 3.0]], np.float32)
    tiles = uniform_map("l", make_grid(2, 2, 2, 2))
    said = (
        r"^weight of l must be at most 65504 in magnitude, as scales are stored in float16, not 1e\+30: the checkpoint"
    )
    with pytest.raises(CheckpointError, match=said):
        quantize_weight(weight, tiles=tiles, codebooks=(SIXTEEN,))
    made = quantize_weight(
        np.array([[65504.0, 0.0]], np.float32), tiles=uniform_map("l", make_grid(1, 2, 2, 2)), codebooks=(SIXTEEN,)
    )
    np.testing.assert_allclose(dequantize(made), [[65504.0, 0.0]], rtol=0.01)


def test_scales_of_zero_mean_zeros() -> None:
    tiles = uniform_map("l", make_grid(4, 4, 2, 2))
    made = quantize_weight(np.zeros((4, 4), np.float32), tiles=tiles, codebooks=(SIXTEEN,))
    assert np.isfinite(made.scale).all()
    assert not dequantize(made).any()
    assert pack(made)["weight_scale"].dtype == np.float16
