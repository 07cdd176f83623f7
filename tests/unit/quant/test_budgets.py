"""Allocation within several budgets: brute force, HiGHS against the Lagrangian bound, and impossible budgets."""

from itertools import product

import numpy as np
import pytest

from haloquant.errors import InfeasibleError, InputError
from haloquant.quant.allocation import sweep
from haloquant.quant.budgets import Resource, least_loss, least_loss_exact


def problem(seed: int, items: int, classes: int = 2) -> tuple[np.ndarray, np.ndarray]:
    """Losses that fall with the class, and the use of three resources: one of them falls where the others rise."""
    rng = np.random.default_rng(seed)
    loss = np.sort(rng.exponential(1, (items, classes)), axis=1)[:, ::-1] * rng.exponential(1, (items, 1))
    uses = np.sort(rng.random((3, items, classes)) + 0.1, axis=2)
    uses[2] = uses[2, :, ::-1] if seed % 2 else uses[2]
    return loss, uses


def resources(uses: np.ndarray, share: float, seed: int) -> list[Resource]:
    """Budgets between the least and the most use; random classes meet them, so they can be met together."""
    rng = np.random.default_rng(seed)
    items = np.arange(uses.shape[1])
    chosen = (rng.random(uses.shape[1]) < share).astype(int) * (uses.shape[2] - 1)
    names = (("size", "bits"), ("time", "s"), ("energy", "J"))
    return [Resource(*name, use, float(use[items, chosen].sum())) for name, use in zip(names, uses, strict=True)]


@pytest.mark.parametrize("seed", range(8))
def test_against_brute_force_on_twelve_layers(seed: int) -> None:
    loss, uses = problem(seed, 12)
    budgets, items = resources(uses, 0.5, seed), np.arange(12)
    trials = np.array(list(product(range(2), repeat=12)))
    inside = np.all([one.use[items, trials].sum(axis=1) <= one.most * (1 + 1e-9) for one in budgets], axis=0)
    best = loss[items, trials].sum(axis=1)[inside].min()
    exact, priced = least_loss_exact(loss, budgets), least_loss(loss, budgets)
    assert exact.loss == pytest.approx(best, rel=1e-9)
    assert exact.gap <= 1e-6 * (1 + best)
    assert priced.bound <= best * (1 + 1e-9) <= priced.loss * (1 + 2e-9)
    for found in (exact, priced):
        assert loss[items, found.classes].sum() == pytest.approx(found.loss)
        for used, one in zip(found.used, budgets, strict=True):
            assert used == pytest.approx(one.use[items, found.classes].sum())
            assert used <= one.most * (1 + 1e-8)


@pytest.mark.parametrize("seed", range(4))
def test_highs_and_the_lagrangian_agree_within_its_gap(seed: int) -> None:
    loss, uses = problem(seed, 300, 3)
    budgets = resources(uses, 0.4, seed)
    exact, priced = least_loss_exact(loss, budgets), least_loss(loss, budgets)
    assert priced.bound <= exact.loss + 1e-9 and exact.loss <= priced.loss + 1e-9
    assert priced.loss - exact.loss <= priced.gap + 1e-9
    # At most one item for each budget is divided in the relaxed problem, so the gap is small beside the loss.
    assert priced.gap <= 4 * (loss.max(axis=1) - loss.min(axis=1)).max()
    assert priced.gap <= 0.03 * priced.loss


def test_with_one_budget_the_bound_is_that_of_the_hull() -> None:
    loss, uses = problem(0, 60, 3)
    path = sweep(loss, uses[0])
    for stop in (0, 5, len(path.cost) // 2, len(path.cost) - 1):
        found = least_loss(loss, [Resource("time", "s", uses[0], float(path.cost[stop]))])
        assert found.loss == pytest.approx(path.loss[stop], rel=1e-7)
        assert found.gap <= 1e-7 * (1 + found.loss)


def test_by_hand() -> None:
    # Class 1 costs 2 more and saves 5, 1 and 4: a budget for two upgrades takes the first and the third.
    loss = np.array([[5.0, 0.0], [1.0, 0.0], [4.0, 0.0]])
    cost = np.array([[1.0, 3.0]] * 3)
    found = least_loss(loss, [Resource("time", "s", cost, 7.0)])
    assert (found.classes.tolist(), found.used, found.loss, found.gap) == ([1, 0, 1], (7.0,), 1.0, 0.0)
    # A second budget that the first item's upgrade exceeds leaves one upgrade, that of the third.
    size = np.array([[1.0, 9.0], [1.0, 2.0], [1.0, 2.0]])
    both = [Resource("time", "s", cost, 7.0), Resource("size", "bits", size, 5.0)]
    for solve in (least_loss, least_loss_exact):
        assert solve(loss, both).classes.tolist() == [0, 1, 1]


@pytest.mark.parametrize("solve", [least_loss, least_loss_exact])
def test_impossible_budgets_say_the_least_that_would_do(solve) -> None:
    loss = np.array([[2.0, 1.0], [2.0, 1.0]])
    first, second = np.array([[1.0, 3.0]] * 2), np.array([[3.0, 1.0]] * 2)
    with pytest.raises(InfeasibleError) as caught:
        solve(loss, [Resource("size", "bits", first, 1.5)])
    assert str(caught.value) == (
        "the budget of size must be at least 2 bits, the least that its classes take, not 1.5 bits"
    )
    # Each alone can be met, both together not: one item in each class uses 4 of both.
    with pytest.raises(InfeasibleError) as caught:
        solve(loss, [Resource("size", "bits", first, 3.0), Resource("time", "s", second, 3.0)])
    assert str(caught.value) == (
        "the budgets must be at least 1.333 times as large (size 4 bits, time 4 s), not 3 bits, 3 s"
    )
    solve(loss, [Resource("size", "bits", first, 4.0), Resource("time", "s", second, 4.0)])


def test_refusals() -> None:
    one = np.ones((2, 2))
    for use, most in ((np.ones((2, 3)), 1.0), (-one, 1.0), (one * np.nan, 1.0), (one, 0.0), (one, np.nan)):
        with pytest.raises(InputError, match="must be"):
            least_loss(one, [Resource("time", "s", use, most)])
    with pytest.raises(InputError, match="must have a budget"):
        least_loss(one, [])
    with pytest.raises(InputError, match="must be finite"):
        least_loss(one * np.inf, [Resource("time", "s", one, 9.0)])
