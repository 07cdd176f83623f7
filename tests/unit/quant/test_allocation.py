"""Allocation of classes to tiles: every stop of the path against brute force."""

from itertools import product

import numpy as np
import pytest

from haloquant.errors import InputError
from haloquant.quant.allocation import knee, sweep, unflatten
from haloquant.records import TileGrid


def test_sweep_by_hand() -> None:
    # Class 1 costs 2 more and saves 5, 1 and 4: the first item is changed first, then the third.
    loss = np.array([[5.0, 0.0], [1.0, 0.0], [4.0, 0.0]])
    cost = np.array([[1.0, 3.0]] * 3)
    path = sweep(loss, cost)
    assert path.cost.tolist() == [3, 5, 7, 9]
    assert path.loss.tolist() == [10, 5, 1, 0]
    assert path.tile.tolist() == [0, 2, 1]
    assert path.at(0).tolist() == [0, 0, 0]
    assert path.at(3).tolist() == [1, 1, 1]
    assert knee(path) == 2  # below the chord by 0, 1/2 + 1/3 - ..., at most at two upgrades


def random_problem(seed, tiles, classes):
    rng = np.random.default_rng(seed)
    loss = np.sort(rng.exponential(1, (tiles, classes)), axis=1)[:, ::-1] * rng.exponential(1, (tiles, 1))
    cost = np.sort(rng.random((tiles, classes)), axis=1)
    return loss, cost


@pytest.mark.parametrize("seed", range(8))
def test_against_brute_force(seed) -> None:
    loss, cost = random_problem(seed, 6, 3)
    tiles = np.arange(6)
    trials = [np.array(c) for c in product(range(3), repeat=6)]
    path = sweep(loss, cost)
    for stop in range(path.cost.size):  # every stop is an exact optimum for its own cost
        exact = min(loss[tiles, c].sum() for c in trials if cost[tiles, c].sum() <= path.cost[stop] + 1e-12)
        assert path.loss[stop] == pytest.approx(exact, rel=1e-9)
        assert loss[tiles, path.at(stop)].sum() == pytest.approx(path.loss[stop], rel=1e-9)
        assert cost[tiles, path.at(stop)].sum() == pytest.approx(path.cost[stop], rel=1e-9)


def test_a_dearer_class_that_saves_nothing_is_never_taken() -> None:
    loss, cost = np.array([[1.0, 2.0]]), np.array([[1.0, 3.0]])
    assert sweep(loss, cost).cost.tolist() == [1.0]
    assert knee(sweep(loss, cost)) == 0


def test_between_layers_and_list() -> None:
    layers = [("a", TileGrid(4, 6, 2, 2)), ("b", TileGrid(3, 2, 2, 2))]
    maps = [np.arange(6).reshape(2, 3).astype(np.uint8), np.array([[7], [8]], np.uint8)]
    flat = np.array([0, 1, 2, 3, 4, 5, 7, 8], np.uint8)  # layer after layer, row after row
    for tile_map, part in zip(unflatten(flat, layers), maps, strict=True):
        assert np.array_equal(tile_map.codebook, part)
    with pytest.raises(InputError, match="classes must be given for 8 tiles, not 7"):
        unflatten(flat[:7], layers)


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (
            lambda: sweep(np.ones((2, 2)), np.array([[1.0, np.inf], [1, 1]])),
            "loss and cost of every tile must be finite",
        ),
        (lambda: sweep(np.ones((2, 300)), np.ones((2, 300))), "classes must be at most 256, not 300"),
    ],
)
def test_refusals(call, sentence) -> None:
    with pytest.raises(InputError, match=sentence):
        call()
