"""Choice of a class for every tile, or for every layer, within several budgets: size, time and energy.

Choose one class per item so that the sum of the losses is least and no resource is used beyond its budget. This is the
multiple-choice knapsack problem with several constraints.

`least_loss` is for many tiles. It solves the Lagrangian dual, max over prices p >= 0 of
sum_t min_c (loss[t, c] + p . use[t, c]) - p . budget, by cutting planes (Kelley, "The cutting-plane method for solving
convex programs", SIAM 1960). The dual's value is a lower bound of the loss. At the best prices the budgets become one
cost, and `allocation.sweep` gives the allocations that are optimal for it. The best of them within all budgets is
completed by single changes that still fit.

`least_loss_exact` hands the problem to HiGHS (scipy.optimize.milp). It is for tens to thousands of items, such as
layers. Both return the bound, so the loss that may be lost is known (OHQ, arXiv 2309.01945, allocates with measured
costs in this way). scipy.optimize is imported where it is needed: every command imports this module, and scipy.optimize
takes a third of a second.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, UInt8

from haloquant.errors import InfeasibleError, InputError
from haloquant.quant.allocation import sweep

MOST_CUTS = 300  # cutting planes; three resources take about 30
SLACK = 1e-9  # share of a budget by which rounding of sums may exceed it
TIME_LIMIT_S = 120.0


@dataclass(frozen=True)
class Resource:
    """What items use of something that is limited.

    Attributes:
        name: what it is, for sentences.
        unit: its unit, for sentences.
        use: use of every item in each class.
        most: the budget: the most that all items together may use.
    """

    name: str
    unit: str
    use: Float64[np.ndarray, "items classes"]
    most: float


@dataclass(frozen=True)
class BudgetedAllocation:
    """An allocation within budgets.

    Attributes:
        classes: class of every item.
        used: total use of each resource.
        loss: total loss.
        bound: no allocation within the budgets has a loss below this.
    """

    classes: UInt8[np.ndarray, " items"]
    used: tuple[float, ...]
    loss: float
    bound: float

    @property
    def gap(self) -> float:
        """The loss minus its lower bound: 0 if the allocation is proved to be the best."""
        return max(0.0, self.loss - self.bound)


def least_loss(loss: Float64[np.ndarray, "items classes"], resources: Sequence[Resource]) -> BudgetedAllocation:
    """Return an allocation of low loss within all budgets, and a lower bound of the loss (the Lagrangian dual).

    Args:
        loss: Loss of every item in each class.
        resources: One to some resources with their budgets.

    Raises:
        InputError: Loss and use differ in shape, a value is not finite or a use is negative, or a budget is not above
            0.
        InfeasibleError: No allocation is within all budgets. The sentence says the least that would do.
    """
    uses = _checked(loss, resources)
    scale = float(loss.max(axis=1).sum() - loss.min(axis=1).sum()) or 1.0
    weights, columns = _least_factor(uses, resources)
    prices, bound = _best_prices(loss / scale, uses, columns)
    found = _along_path(loss, uses, prices) if prices.any() else loss.argmin(axis=1)
    if found is None or _excess(uses, found) > SLACK:
        found = _along_path(loss, uses, weights)
    if found is None:
        return least_loss_exact(loss, resources)  # so few items that no point of a path meets all budgets
    found = _filled(loss, uses, found)
    return _allocation(loss, resources, found, bound * scale)


def least_loss_exact(
    loss: Float64[np.ndarray, "items classes"], resources: Sequence[Resource], time_limit_s: float = TIME_LIMIT_S
) -> BudgetedAllocation:
    """Return the allocation of least loss within all budgets, by HiGHS' branch and bound.

    Args:
        loss: Loss of every item in each class.
        resources: One to some resources with their budgets.
        time_limit_s: After this time the best allocation so far is returned, with its bound.

    Raises:
        InputError: As `least_loss`.
        InfeasibleError: As `least_loss`; or the time is over and no allocation was found.
    """
    from scipy.optimize import Bounds, LinearConstraint, milp
    from scipy.sparse import csr_array, hstack, kron
    from scipy.sparse import eye_array as eye

    uses = _checked(loss, resources)
    items, classes = loss.shape
    scale = float(loss.max(axis=1).sum() - loss.min(axis=1).sum()) or 1.0
    one_each = kron(eye(items), np.ones((1, classes)), format="csr")
    used = csr_array(uses.reshape(len(resources), -1))
    options = {"mip_rel_gap": 0.0, "time_limit": time_limit_s}
    solved = milp(
        loss.ravel() / scale,
        constraints=[LinearConstraint(one_each, 1, 1), LinearConstraint(used, -np.inf, 1.0 + SLACK / 10)],
        integrality=np.ones(loss.size),
        bounds=Bounds(0, 1),
        options=options,
    )
    if solved.x is None and solved.status == 2:
        # The least factor by which all budgets must grow: one more variable, and no loss.
        grown = hstack([used, csr_array(-np.ones((len(resources), 1)))], format="csr")
        least = milp(
            np.append(np.zeros(loss.size), 1.0),
            constraints=[
                LinearConstraint(hstack([one_each, csr_array((items, 1))], format="csr"), 1, 1),
                LinearConstraint(grown, -np.inf, 0.0),
            ],
            integrality=np.append(np.ones(loss.size), 0),
            bounds=Bounds(0, np.inf),  # the shares of an item sum to 1
            options=options,
        )
        if least.fun is not None:
            raise _infeasible(float(least.fun), resources)
    if solved.x is None:
        raise InfeasibleError(f"an allocation within the budgets must be found in {time_limit_s:g} s, and was not")
    found = solved.x.reshape(items, classes).argmax(axis=1)
    bound = solved.fun if solved.mip_dual_bound is None else solved.mip_dual_bound
    return _allocation(loss, resources, found, float(bound) * scale)


def check_feasible(resources: Sequence[Resource], least_of: str = "the least that its classes take") -> None:
    """Check that each budget alone can be met.

    Args:
        resources: What is limited.
        least_of: What the least use is of, for the sentence.

    Raises:
        InfeasibleError: The least use is above a budget. The sentence says the least.
    """
    for one in resources:
        least = float(one.use.min(axis=1).sum())
        if least > one.most * (1 + SLACK):
            raise InfeasibleError(
                f"the budget of {one.name} must be at least {_above(least)} {one.unit}, {least_of}, not "
                f"{one.most:.6g} {one.unit}"
            )


def _checked(loss: np.ndarray, resources: Sequence[Resource]) -> Float64[np.ndarray, "resources items classes"]:
    """Return all uses as shares of their budgets, after the checks that every solver makes."""
    if loss.size == 0 or loss.shape[1] > 256 or not np.isfinite(loss).all():
        raise InputError("the losses of the items must be finite, in at most 256 classes: calibrate again")
    if not resources:
        raise InputError("an allocation within budgets must have a budget, and has none")
    for one in resources:
        if one.use.shape != loss.shape or not np.isfinite(one.use).all() or one.use.min() < 0:
            raise InputError(f"the {one.name} of every item and class must be finite and at least 0")
        if not 0 < one.most < np.inf:
            raise InputError(f"the budget of {one.name} must be above 0, not {one.most:g}")
    check_feasible(resources)
    return np.stack([one.use / one.most for one in resources])


def _above(value: float) -> str:
    """Return a value with six digits, rounded up, so that the number that is named will do."""
    digits = 10.0 ** (np.floor(np.log10(value)) - 5) if value > 0 else 1.0
    return f"{np.ceil(value / digits * (1 - 1e-12)) * digits:.6g}"


def _least_factor(uses: np.ndarray, resources: Sequence[Resource]) -> tuple[np.ndarray, list[np.ndarray]]:
    """Check that the budgets can be met together, with items that may be divided among classes.

    The dual is max over weights w >= 0 of sum 1 of sum_t min_c w . use[t, c]. It is the least factor by which all
    budgets must grow.

    Returns:
        The weights of the maximum, and the allocations that were seen.

    Raises:
        InfeasibleError: The factor is above 1.
    """
    from scipy.optimize import linprog

    count = len(uses)
    weights = np.full(count, 1.0 / count)
    columns = [one.argmin(axis=1) for one in uses]
    if count == 1:
        return weights, columns
    for _ in range(MOST_CUTS):
        columns.append(np.tensordot(weights, uses, 1).argmin(axis=1))
        lower = float(weights @ _totals(uses, columns[-1]))
        rows = np.array([_totals(uses, column) for column in columns])
        # Variables: the weights, then theta, which is at most w . total of every column.
        solved = linprog(
            np.append(np.zeros(count), -1.0),
            A_ub=np.hstack([-rows, np.ones((len(rows), 1))]),
            b_ub=np.zeros(len(rows)),
            A_eq=np.append(np.ones(count), 0.0)[None],
            b_eq=[1.0],
            bounds=[*[(0, None)] * count, (None, None)],
        )
        weights, upper = solved.x[:-1], -solved.fun
        if upper - lower <= SLACK / 10:
            break
    lower = float(weights @ _totals(uses, np.tensordot(weights, uses, 1).argmin(axis=1)))
    if lower > 1 + SLACK:
        raise _infeasible(lower, resources)
    return weights, columns


def _infeasible(factor: float, resources: Sequence[Resource]) -> InfeasibleError:
    enough = ", ".join(f"{one.name} {_above(one.most * factor)} {one.unit}" for one in resources)
    given = ", ".join(f"{one.most:.6g} {one.unit}" for one in resources)
    what = "budgets" if len(resources) > 1 else "budget"
    return InfeasibleError(f"the {what} must be at least {factor:.4g} times as large ({enough}), not {given}")


def _best_prices(loss: np.ndarray, uses: np.ndarray, columns: list[np.ndarray]) -> tuple[np.ndarray, float]:
    """Return the prices of the Lagrangian dual's maximum, and the greatest value found: the lower bound of the loss.

    `columns` holds allocations, some mixture of which meets all budgets; they keep the prices of the first cuts small.
    """
    from scipy.optimize import linprog

    items, count = np.arange(loss.shape[0]), len(uses)
    cuts = [(float(loss[items, c].sum()), _totals(uses, c) - 1.0) for c in columns]
    prices, best_prices, best = np.zeros(count), np.zeros(count), -np.inf
    for _ in range(MOST_CUTS):
        classes = (loss + np.tensordot(prices, uses, 1)).argmin(axis=1)
        at, beyond = float(loss[items, classes].sum()), _totals(uses, classes) - 1.0
        value = at + float(prices @ beyond)
        if value > best:
            best, best_prices = value, prices
        cuts.append((at, beyond))
        # Variables: the prices, then theta <= loss of a cut + p . (use - budget) of it.
        solved = linprog(
            np.append(np.zeros(count), -1.0),
            A_ub=np.array([np.append(-part, 1.0) for _, part in cuts]),
            b_ub=np.array([part for part, _ in cuts]),
            bounds=[*[(0, 1e9)] * count, (None, None)],
        )
        if solved.x is None or -solved.fun - best <= 1e-12 + 1e-10 * abs(best):
            break
        prices = solved.x[:-1]
    return best_prices, best


def _along_path(loss: np.ndarray, uses: np.ndarray, prices: np.ndarray) -> np.ndarray | None:
    """Return the allocation of least loss within all budgets among the optima for one cost, the priced use."""
    cost = np.tensordot(prices, uses, 1)
    path = sweep(loss, cost)
    before = path.start.copy()
    changes = np.zeros((len(path.tile), len(uses)))
    for step, (tile, target) in enumerate(zip(path.tile.tolist(), path.target.tolist(), strict=True)):
        changes[step] = uses[:, tile, target] - uses[:, tile, before[tile]]
        before[tile] = target
    totals = _totals(uses, path.start) + np.vstack([np.zeros(len(uses)), np.cumsum(changes, axis=0)])
    inside = np.nonzero((totals <= 1 + SLACK / 2).all(axis=1))[0]
    return path.at(int(inside[-1])).astype(np.int64) if inside.size else None


def _filled(loss: np.ndarray, uses: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """Apply single changes of class that stay within all budgets, the largest saving first, until none saves loss."""
    items, classes = np.arange(loss.shape[0]), classes.copy()
    left = 1 + SLACK / 2 - _totals(uses, classes)
    while True:
        extra = uses - uses[:, items, classes][:, :, None]
        fits = (extra <= left[:, None, None]).all(axis=0)
        saved = np.where(fits, loss[items, classes][:, None] - loss, -np.inf)
        item, target = np.unravel_index(int(np.argmax(saved)), saved.shape)
        if not saved[item, target] > 0:
            return classes
        left = left - extra[:, item, target]
        classes[item] = target


def _totals(uses: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """Return the total use of each resource."""
    return uses[:, np.arange(uses.shape[1]), classes].sum(axis=1)


def _excess(uses: np.ndarray, classes: np.ndarray) -> float:
    return float(_totals(uses, classes).max()) - 1.0


def _allocation(
    loss: np.ndarray, resources: Sequence[Resource], classes: np.ndarray, bound: float
) -> BudgetedAllocation:
    items = np.arange(loss.shape[0])
    total = float(loss[items, classes].sum())
    used = tuple(float(one.use[items, classes].sum()) for one in resources)
    return BudgetedAllocation(classes.astype(np.uint8), used, total, min(bound, total))
