"""Codebooks out of admissible sets: exactness on tiny sets, published optima, refusals."""

from itertools import combinations

import numpy as np
import pytest

from haloquant.errors import InfeasibleError, InputError
from haloquant.quant.codebook import (
    WeightSample,
    best_subset,
    gaussian_sample,
    histogram_of,
    relative_error,
    sample_groups,
    select_codebook,
)
from haloquant.quant.reference.word_subset import best_subset as by_arrays
from haloquant.records import TileGrid
from support.quant_twins import POINT, random_weight

SAMPLE = gaussian_sample(64)


def error_of(values, sample):
    return relative_error(values, sample)[0]


def choose(values, **more):
    admissible = np.array(values, np.int16)
    return select_codebook(
        admissible,
        more.pop("sample", SAMPLE),
        name="fast",
        point=POINT,
        slack_s=more.pop("slack_s", np.full(admissible.size, 1e-11)),
        **more,
    )


def slow_best(admissible, energy, histogram, scale, size):
    """Every subset with 0 in it, every bin to its nearest word."""
    centres, mass, count = histogram
    best = (np.inf, ())
    for words in range(1, size + 1):
        for chosen in combinations(range(admissible.size), words):
            if 0 not in admissible[list(chosen)]:
                continue
            levels = admissible[list(chosen)] * scale
            nearest = np.argmin(np.abs(centres[:, None] - levels), axis=1)
            loss = np.sum(mass * (centres - levels[nearest]) ** 2) + np.sum(count * energy[list(chosen)][nearest])
            best = min(best, (float(loss), chosen))
    return best


@pytest.mark.parametrize("seed", range(6))
def test_dynamic_programming_is_exact(seed) -> None:
    rng = np.random.default_rng(seed)
    admissible = np.unique(np.concatenate([[0], rng.integers(-128, 128, 9)]))
    energy = rng.random(admissible.size) * rng.choice([0, 0.02])
    histogram = histogram_of(
        WeightSample(rng.standard_t(4, (20, 32)).astype(np.float32), rng.random((20, 32)).astype(np.float32))
    )
    got, chosen = best_subset(admissible, energy, histogram, 3 / 128, 4)
    want, subset = slow_best(admissible, energy, histogram, 3 / 128, 4)
    assert got == pytest.approx(want, rel=1e-9)
    assert chosen.tolist() == list(subset)


@pytest.mark.parametrize("size", [1, 4, 9, 16])
def test_compiled_words_are_those_of_whole_arrays_bit_for_bit(size) -> None:
    rng = np.random.default_rng(size)
    histogram = histogram_of(gaussian_sample(64, seed=size))
    sets = (np.arange(-128, 128), np.arange(0, 128), np.arange(-126, 1, 3), np.array([0]), np.array([-7, 0, 9, 100]))
    for admissible in sets:
        for scale in (1.0 / 128, 5.0 / 128, 16.0 / 128):
            energy = rng.random(admissible.size) * rng.choice([0.0, 0.02])
            got, wanted = (f(admissible, energy, histogram, scale, size) for f in (best_subset, by_arrays))
            assert got[0] == wanted[0]
            np.testing.assert_array_equal(got[1], wanted[1])


def test_selection_is_as_good_as_trying_all_subsets() -> None:
    admissible = np.array([-128, -96, -64, -32, -16, 0, 8, 24, 48, 80, 112], np.int16)
    best = min(error_of(admissible[[*chosen]], SAMPLE) for chosen in combinations(range(11), 5) if 5 in chosen)
    assert error_of(choose(admissible, size=5).values, SAMPLE) <= 1.02 * best


@pytest.mark.slow
def test_lloyd_max_is_the_floor() -> None:
    # Max 1960, 16 levels of a Gaussian: 0.009497 of the variance (20.22 dB). A scale per group of 128 gains a little.
    book = choose(range(-128, 128, 2), size=16)
    assert 0 in book.values
    assert book.values.size == 16
    assert 0.0070 < error_of(book.values, gaussian_sample(512, seed=1)) < 0.0092
    nine = choose(range(-128, 128, 2), size=9)
    assert 0.021 < error_of(nine.values, gaussian_sample(512, seed=1)) < 0.0279  # 15.55 dB for 9 levels


def test_another_set_gives_another_codebook() -> None:
    eights = choose(range(-128, 128, 8), size=9)
    assert set(eights.values.tolist()) <= set(range(-128, 128, 8))
    powers = choose([-64, -32, -16, -8, -4, -2, -1, 0, 1, 2, 4, 8, 16, 32, 64], size=9)
    assert error_of(powers.values, SAMPLE) > error_of(eights.values, SAMPLE)


def test_few_values_are_all_taken() -> None:
    assert choose([-64, 0, 64], size=9).values.tolist() == [-64, 0, 64]


def test_slack_is_that_of_the_slowest_word() -> None:
    book = choose([-64, 0, 64], slack_s=np.array([3e-12, 9e-12, 2e-12]))
    assert book.slack_s == 2e-12
    assert book.point == POINT


def test_energy_moves_the_choice() -> None:
    values = np.arange(-128, 128, 8, dtype=np.int16)
    energy = np.array([bin(int(v) & 255).count("1") for v in values]) * 1e-13 + 1e-14
    plain = choose(values, size=9)
    quiet = choose(values, size=9, energy_j=energy, energy_weight=0.2)

    def cost(book):
        return energy[np.searchsorted(values, book.values)].mean()

    assert cost(quiet) < cost(plain)
    assert error_of(quiet.values, SAMPLE) >= 0.98 * error_of(plain.values, SAMPLE)
    assert np.array_equal(choose(values, size=9, energy_j=energy).values, plain.values)


def test_energy_that_no_word_but_0_is_worth_is_refused() -> None:
    with pytest.raises(
        InfeasibleError,
        match=r"^energy_weight must be so small that a word other than 0 is worth its energy in class fast, not 50$",
    ):
        choose([-64, 0, 64], size=2, energy_j=np.array([1e-13, 0.0, 1e-13]), energy_weight=50.0)


def test_sample_is_normalized_and_weighted() -> None:
    weight = random_weight(0, 6, 64)
    weight[2] = 0
    importance = np.ones((1, 64), np.float32)
    importance[0, :32] = 3
    sample = sample_groups([(weight, importance)], TileGrid(6, 64, 32, 32), 100)
    assert sample.groups.shape == (10, 32)  # the groups of the row of zeros are left out
    assert np.allclose(np.mean(sample.groups**2, axis=1), 1, atol=1e-5)
    assert sample.importance.mean() == pytest.approx(1, abs=1e-6)


def test_a_layer_shorter_than_a_tile_is_padded() -> None:
    sample = sample_groups([(random_weight(0, 3, 10), np.ones((1, 10), np.float32))], TileGrid(3, 10, 32, 32))
    assert sample.groups.shape == (3, 32)
    assert not sample.importance[:, 10:].any()


def test_nothing_but_zero() -> None:
    with pytest.raises(InfeasibleError) as caught:
        choose([0])
    assert str(caught.value) == (
        "admissible values of fast must hold one other than 0: at 1e+09 Hz and 1 V no other weight meets timing; "
        "choose a lower frequency, a higher voltage or a smaller margin"
    )


@pytest.mark.parametrize(
    ("values", "more", "sentence"),
    [
        ([1, 2], {}, "must be ascending with 0 among them"),
        ([2, 0], {}, "must be ascending with 0 among them"),
        ([0, 2], {"slack_s": np.array([0.0, -1e-12])}, "slack of fast must be at least 0"),
        ([0, 2], {"slack_s": np.zeros(3)}, "must be given for each of 2 admissible values"),
        ([0, 2], {"size": 1}, "size of fast must be within 2..256 words, not 1"),
        ([0, 2], {"energy_weight": -1.0}, "energy_weight of fast must be at least 0, not -1.0"),
    ],
)
def test_refusals(values, more, sentence) -> None:
    with pytest.raises(InputError, match=sentence):
        choose(values, **more)


def test_no_weights() -> None:
    with pytest.raises(InputError, match="the layers must hold weights other than 0, and a sample of them holds none"):
        sample_groups([(np.zeros((4, 8), np.float32), np.ones((1, 8), np.float32))], TileGrid(4, 8, 4, 4))
