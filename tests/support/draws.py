"""How many cases of a judge run: a few every time, all of them where HALOQUANT_TEST_DRAWS is `all` or `nightly`.

A test that runs fewer cases every time is marked `thinned`. `.ci/run` runs these tests in full after the others.
"""

import os
from collections.abc import Iterable, Sequence
from typing import TypeVar

Case = TypeVar("Case")

DRAWS = os.environ.get("HALOQUANT_TEST_DRAWS", "gate")
ALL = DRAWS in ("all", "nightly")
NIGHTLY = DRAWS == "nightly"


def daily(cases: Iterable[Case], kept: Sequence[Case]) -> list[Case]:
    """Return all cases where all are asked for, else those that are kept for every run, which must be among them."""
    every = list(cases)
    missing = [case for case in kept if case not in every]
    if missing:
        raise ValueError(f"cases that are kept for every run must be among all, and {missing} are not")
    return every if ALL else list(kept)
