"""Allocation of classes to tiles: the knapsack against brute force and HiGHS."""

from itertools import product

import numpy as np
import pytest
from scipy.optimize import Bounds, LinearConstraint, milp

from haloquant.errors import InfeasibleError, InputError
from haloquant.quant.allocation import knee, least_loss, sweep, unflatten
from haloquant.records import TileGrid


def test_least_loss_by_hand() -> None:
    # Class 1 costs 2 more and saves 5, 1 and 4: a budget for two upgrades takes the first and the third.
    loss = np.array([[5.0, 0.0], [1.0, 0.0], [4.0, 0.0]])
    cost = np.array([[1.0, 3.0]] * 3)
    found = least_loss(loss, cost, 7.0)
    assert found.classes.tolist() == [1, 0, 1]
    assert (found.cost, found.loss, found.bound) == (7.0, 1.0, 1.0)
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
    rng = np.random.default_rng(seed)
    budget = rng.uniform(cost.min(axis=1).sum(), cost.max(axis=1).sum())
    tiles = np.arange(6)
    trials = [np.array(c) for c in product(range(3), repeat=6)]
    best = min(loss[tiles, c].sum() for c in trials if cost[tiles, c].sum() <= budget)
    found = least_loss(loss, cost, budget)
    assert found.cost <= budget * (1 + 1e-9)
    assert found.bound <= best * (1 + 1e-9)
    assert best <= found.loss * (1 + 1e-9)
    assert found.loss - found.bound <= (loss.max(axis=1) - loss.min(axis=1)).max()
    path = sweep(loss, cost)
    for stop in range(path.cost.size):  # every stop is an exact optimum for its own cost
        exact = min(loss[tiles, c].sum() for c in trials if cost[tiles, c].sum() <= path.cost[stop] + 1e-12)
        assert path.loss[stop] == pytest.approx(exact, rel=1e-9)
        assert loss[tiles, path.at(stop)].sum() == pytest.approx(path.loss[stop], rel=1e-9)
        assert cost[tiles, path.at(stop)].sum() == pytest.approx(path.cost[stop], rel=1e-9)


@pytest.mark.parametrize("seed", range(3))
def test_against_highs(seed) -> None:
    loss, cost = random_problem(seed, 40, 3)
    budget = cost.min(axis=1).sum() * 0.6 + cost.max(axis=1).sum() * 0.4
    one_each = np.kron(np.eye(40), np.ones((1, 3)))
    solved = milp(
        loss.ravel(),
        constraints=[LinearConstraint(one_each, 1, 1), LinearConstraint(cost.reshape(1, -1), -np.inf, budget)],
        integrality=np.ones(120),
        bounds=Bounds(0, 1),
    )
    found = least_loss(loss, cost, budget)
    assert found.bound <= solved.fun + 1e-6
    assert found.loss <= 1.01 * solved.fun


def test_budget_too_small() -> None:
    with pytest.raises(InfeasibleError) as caught:
        least_loss(np.ones((2, 2)), np.ones((2, 2)), 1.5)
    assert str(caught.value) == "budget must be at least 2, the cost of the cheapest classes, not 1.5"


def test_a_dearer_class_that_saves_nothing_is_never_taken() -> None:
    loss, cost = np.array([[1.0, 2.0]]), np.array([[1.0, 3.0]])
    assert least_loss(loss, cost, 10.0).classes.tolist() == [0]
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
