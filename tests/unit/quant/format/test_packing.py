"""The packed format: inverse on random and adversarial layers, stored bits, and refusals."""

from dataclasses import replace

import numpy as np
import pytest

from haloquant.errors import FormatError
from haloquant.quant.format.packing import pack, packed_bits, packed_weight, unpack
from haloquant.quant.format.stored_bits import count_bits
from haloquant.quant.layer import dequantize, resized
from haloquant.records import SparseWeights
from support.halo_layers import NINE, SIXTEEN, codebook, random_layer, same, with_offsets

BOOKS = {
    "two": (codebook(SIXTEEN, "slow"), codebook(NINE, "fast")),
    "one_nine": (codebook(NINE),),
    "bytes": (codebook(tuple(range(-100, 101))), codebook((-1, 0, 1)), codebook(SIXTEEN[2:13])),
}


SHAPES = [(384, 256, 128), (130, 172, 128), (64, 64, 128), (1, 1, 128), (37, 41, (7, 11)), (33, 65, 32), (6, 5, 1)]


def back(q, tensors):
    grid = q.tiles.grid
    return unpack(tensors, q.layer, q.codebooks, grid.tile_out, grid.tile_in)


@pytest.mark.parametrize("books", BOOKS)
@pytest.mark.parametrize(("out_features", "in_features", "tile"), SHAPES)
def test_unpack_undoes_pack(out_features, in_features, tile, books) -> None:
    q = random_layer(out_features, in_features, tile, BOOKS[books], seed=3, sparse=0.01)
    assert same(back(q, pack(q)), q)


@pytest.mark.parametrize("exponent", [0, 40])
@pytest.mark.parametrize(("out_features", "in_features", "tile"), SHAPES)
def test_offsets_are_kept_counted_and_added_to_each_weight_of_a_tile(out_features, in_features, tile, exponent) -> None:
    plain = random_layer(out_features, in_features, tile, BOOKS["two"], seed=3, sparse=0.01)
    q = resized(with_offsets(plain), exponent)
    tensors = pack(q)
    assert tensors["weight_offset"].dtype == np.float16
    assert same(back(q, tensors), q)
    assert list(packed_weight(tensors, q.layer, q.codebooks, q.tiles.grid.tile_out, q.tiles.grid.tile_in).tensors)
    assert packed_bits(tensors, q.codebooks) == count_bits(q)
    expected = dequantize(replace(q, offset=None)).astype(np.float64)
    for i in range(in_features):
        expected[:, i] += q.offset[:, i // q.tiles.grid.tile_in]
    np.testing.assert_allclose(dequantize(q), expected, rtol=1e-5, atol=1e-6 * np.abs(expected).max())
    for wrong in (tensors["weight_offset"].astype(np.float32), np.full_like(tensors["weight_offset"], np.nan)):
        with pytest.raises(FormatError, match="weight_offset of"):
            back(q, tensors | {"weight_offset": wrong})


@pytest.mark.parametrize("exponent", [1, 23, 40, 100])
def test_scales_below_those_of_float16_are_kept_by_an_exponent(exponent: int) -> None:
    ordinary = random_layer(130, 172, 128, BOOKS["two"], seed=3, sparse=0.01)
    scale = np.copysign(np.float32(2.0**-14), ordinary.scale)  # the least that float16 holds at full precision
    whole = replace(ordinary, scale=scale)
    q = resized(whole, exponent)
    tensors = pack(q)
    assert tensors["weight_scale"].dtype == np.float16
    assert same(back(q, tensors), q)
    assert np.array_equal(dequantize(q), dequantize(whole) * np.float32(2.0**-exponent))
    if exponent > 20:  # an older reader, which expects two numbers, refuses the layer
        assert tensors["weight_shape"].shape == (3,)
        for wrong in (-1, 101):
            broken = tensors | {"weight_shape": np.array([130, 172, wrong], np.int32)}
            with pytest.raises(FormatError, match=r"must be two positive numbers and at most one exponent up to"):
                back(q, broken)


@pytest.mark.parametrize("books", BOOKS)
def test_a_packed_layer_keeps_its_arrays_in_order_and_is_checked_without_decoding(books) -> None:
    q = random_layer(130, 172, 128, BOOKS[books], seed=3, sparse=0.01)
    tensors = pack(q)
    shuffled = dict(sorted(tensors.items()))  # a file gives them back in another order
    packed = packed_weight(shuffled, q.layer, q.codebooks, 128, 128)
    assert list(packed.tensors) == list(tensors)
    assert all(packed.tensors[name] is tensors[name] for name in tensors)
    assert np.array_equal(packed.tiles.codebook, q.tiles.codebook)
    broken = tensors | {"weight_packed": np.full_like(tensors["weight_packed"], 255)}
    with pytest.raises(FormatError, match="out of range: the file is damaged"):
        packed_weight(broken, q.layer, q.codebooks, 128, 128)


@pytest.mark.parametrize("books", BOOKS)
def test_extreme_codes_survive(books) -> None:
    q = random_layer(130, 131, (13, 16), BOOKS[books], sparse=0)
    sizes = np.array([book.values.size for book in q.codebooks])
    highest = np.repeat(np.repeat(sizes[q.tiles.codebook] - 1, 13, 0), 16, 1)[:130, :131]
    for pattern in (0, 1):
        checker = (np.add.outer(np.arange(130), np.arange(131)) + pattern) % 2
        q.codes[:] = highest * checker
        assert same(back(q, pack(q)), q)
    q.codes[:] = highest
    assert same(back(q, pack(q)), q)


def test_bits_are_what_is_stored() -> None:
    q = random_layer(256, 256, sparse=0.004)
    tensors = pack(q)
    bits = packed_bits(tensors, q.codebooks)
    assert bits.total == 8 * sum(array.nbytes for array in tensors.values()) + 8 * (16 + 9)
    assert bits.weights == 65536


def test_pack_refuses_what_it_cannot_keep() -> None:
    q = random_layer(64, 64)
    q.codes[5, 5] = 16
    with pytest.raises(FormatError, match="must be below the size of their tile's codebook"):
        pack(q)
    q = random_layer(64, 64)
    q.scale[0, 0] = 0.1
    with pytest.raises(FormatError, match=r"scales of .* must be float16 values"):
        pack(q)


def flipped(name, change):
    def damage(tensors):
        array = tensors[name].copy()
        tensors[name] = change(array)

    return damage


def first(value):
    def change(array):
        array.flat[0] = value
        return array

    return change


DAMAGE = {
    "missing": (lambda t: t.pop("weight_scale"), "must have a tensor weight_scale, and it is missing"),
    "missing_sparse": (lambda t: t.pop("sparse_scale"), "must have a tensor sparse_scale, and it is missing"),
    "short": (flipped("weight_packed", lambda x: x[:-1]), r"weight_packed of .* must be uint8 of shape \(\d+,\), not"),
    "type": (flipped("weight_scale", lambda x: x.astype(np.float32)), "must be float16 of shape .*not float32"),
    "nan": (flipped("weight_scale", first(np.nan)), "weight_scale of .* must be finite"),
    "map_size": (flipped("weight_tile_class", lambda x: x[:1]), r"weight_tile_class of .* \(3, 2\), not uint8 of"),
    "map_value": (flipped("weight_tile_class", first(2)), "must name classes below 2, not 2"),
    "shape": (flipped("weight_shape", first(-3)), "weight_shape of .* must be two positive numbers"),
    "counts": (flipped("sparse_row_count", first(255)), r"sparse_col of .* must be uint16 of shape"),
    "full_row": (
        flipped("sparse_row_count", lambda x: first(300)(x.astype(np.uint16))),
        "sparse weights per row of .* must be between 0 and 256, not 0 to 300",
    ),
    "counts_type": (flipped("sparse_row_count", lambda x: x.astype(np.int64)), "sparse_row_count of .* must be uint8"),
    "no_counts": (lambda t: t.pop("sparse_row_count"), "must have a tensor sparse_row_count, and it is missing"),
    "count": (flipped("sparse_value", lambda x: x[:-1]), "sparse_value of .* must be int8 of shape"),
    "column": (flipped("sparse_col", lambda x: x * 0 + 65535), "sparse_col of .* stay below 256"),
    "repeat": (flipped("sparse_col", lambda x: x * 0), "sparse_col of .* must ascend within each row"),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_damage_is_refused(name) -> None:
    q = random_layer(384, 256)
    tensors = pack(q)
    damage, sentence = DAMAGE[name]
    damage(tensors)
    with pytest.raises(FormatError, match=sentence):
        back(q, tensors)


def as_version_1(tensors) -> None:
    """Running sums of the sparse weights per row, as version 1 of the format kept them."""
    counts = tensors.pop("sparse_row_count").astype(np.int64)
    tensors["sparse_row_ptr"] = np.concatenate([[0], np.cumsum(counts)]).astype(np.int32)


def test_version_1_is_still_read() -> None:
    q = random_layer(384, 256)
    tensors = pack(q)
    as_version_1(tensors)
    assert same(back(q, tensors), q)
    tensors["sparse_row_ptr"][0] = 1
    with pytest.raises(FormatError, match=r"sparse_row_ptr of .* must ascend from 0"):
        back(q, tensors)
    with pytest.raises(FormatError, match="must have one of sparse_row_count and sparse_row_ptr, not both"):
        back(q, tensors | pack(q))


@pytest.mark.parametrize(
    ("fullest", "kind"), [(255, np.uint8), (256, np.uint16), (65535, np.uint16), (65536, np.int32)]
)
def test_counts_take_the_smallest_type_that_holds_the_fullest_row(fullest, kind) -> None:
    q = random_layer(3, 65536, sparse=0)
    cols = np.arange(fullest, dtype=np.int32)
    q.codes[1, :fullest] = 8
    ones = np.ones(fullest, np.int8)
    sparse = SparseWeights(np.ones_like(cols), cols, ones, np.ones(3, np.float32), ones.astype(np.uint8))
    q = replace(q, sparse=sparse)
    tensors = pack(q)
    assert tensors["sparse_row_count"].dtype == kind
    assert same(back(q, tensors), q)
    assert count_bits(q) == packed_bits(tensors, q.codebooks)


@pytest.mark.parametrize("size", [3, 9, 11, 201])
def test_codes_out_of_range_are_counted(size) -> None:
    values = tuple(range(-(size // 2), size - size // 2))
    q = random_layer(36, 32, 36, (codebook(values),), sparse=0)
    tensors = pack(q)
    tensors["weight_packed"][-1] = 255  # the end of the last row: this tile needs no padding
    with pytest.raises(FormatError, match="out of range: the file is damaged"):
        back(q, tensors)
