"""Fewest transitions of a tiny pass by trying every order of its tiles. Tests compare `dvfs.order` with it."""

from collections.abc import Sequence
from itertools import pairwise, permutations, product
from math import factorial, prod

from haloquant.errors import InputError
from haloquant.records import OperatingPoint

_MOST_ORDERS = 2_000_000


def fewest_transitions(groups: Sequence[Sequence[OperatingPoint]]) -> int:
    """Return the least number of changes of operating point over all orders of the tiles inside each group.

    Args:
        groups: For each dependency group, the point of every one of its tiles, in any order.

    Raises:
        InputError: There are more than two million orders.
    """
    orders = prod(factorial(len(group)) for group in groups)
    if orders > _MOST_ORDERS:
        raise InputError(f"orders to try must be at most {_MOST_ORDERS}, not {orders}; use fewer tiles")
    best = None
    for choice in product(*(set(permutations(group)) for group in groups)):
        flat = [point for group in choice for point in group]
        changes = sum(a != b for a, b in pairwise(flat))
        best = changes if best is None else min(best, changes)
    return best or 0
