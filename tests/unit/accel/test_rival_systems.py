"""Clocks and tiles of rival methods."""

import numpy as np
import pytest

from haloquant.accel.rival_systems import allowed_point, uniform_system, uniform_values, value_tiles
from haloquant.errors import InputError, ProfileError
from haloquant.records import BitCount, Codebook, TileGrid
from support.accel_cases import (
    BASE,
    FAST,
    MIDDLE,
    TOP,
    tiny_workload,
    toy_codebooks,
    toy_profile,
)


def test_rivals_get_the_clock_their_values_allow() -> None:
    books, profile = toy_codebooks(), toy_profile()
    assert allowed_point(profile, 0, FAST.tolist(), books, BASE)[0] == TOP
    assert allowed_point(profile, 0, [0, 16, -48], books, BASE)[0] == MIDDLE
    point, why = allowed_point(profile, 0, [0, 3], books, BASE)
    assert (point, why) == (BASE, "its values are slower than those of every faster class")
    with pytest.raises(ProfileError, match=r"^the weight values must be among the 256 of profile toy .*, not 200$"):
        allowed_point(profile, 0, [200], books, BASE)


def test_a_four_bit_rival_is_placed_where_the_multiplier_likes_it() -> None:
    workload = tiny_workload()
    four = uniform_system(workload, (8, 8), 4, toy_profile(), 0, toy_codebooks(), BASE)
    assert four.name == "W4A8 (x16)" and four.points[0] == MIDDLE
    assert four.why == "its values are no slower than those of class slow"
    eight = uniform_system(workload, (8, 8), 8, toy_profile(), 0, toy_codebooks(), BASE)
    assert eight.name == "W8A8" and eight.points[0] == BASE
    three = uniform_system(workload, (8, 8), 3, toy_profile(), 0, toy_codebooks(), BASE)
    assert three.points[0] == MIDDLE
    # a fourth of the bits, and of the time where memory is the limit
    with pytest.raises(InputError, match=r"^bits of a uniform grid must be 2 to 8, not 9$"):
        uniform_values(9)
    with pytest.raises(InputError, match=r"^shift of a 4-bit grid must be 0 to 4 bits, not 5$"):
        uniform_values(4, 5)


def test_a_rival_s_real_values_are_counted() -> None:
    rng = np.random.default_rng(0)
    values = rng.integers(-7, 8, (13, 20)).astype(np.int16)
    grid = TileGrid(13, 20, 8, 8)
    tiles = value_tiles("x", values, grid, BitCount(260, codes=1040))
    for d in range(2):
        for a in range(3):
            block = np.zeros((8, 8), np.int16)
            part = values[d * 8 : d * 8 + 8, a * 8 : a * 8 + 8]
            block[: part.shape[0], : part.shape[1]] = part
            assert tiles.histogram[d, a].tolist() == [int((block == v).sum()) for v in tiles.values]
    with pytest.raises(InputError, match=r"^values of x must be 13 x 20 \(out x in\), not 20 x 13$"):
        value_tiles("x", values.T, grid, BitCount(260))


def test_a_codebook_of_the_profile_is_its_own_limit() -> None:
    book = Codebook("fast", FAST, TOP, 0.0)
    assert allowed_point(toy_profile(), 0, book.values.tolist(), [book], BASE)[1].endswith("class fast")
