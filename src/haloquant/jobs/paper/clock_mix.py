"""The paper's arithmetic: a pass takes the sum of its tiles' clock periods, and effective bits are shares of classes.

The effective bits of a variant are 3 x (share of fast tiles) + 4 x (share of slow tiles), so they give the shares.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from haloquant.records import OperatingPoint
from haloquant.store.targets import read_gpu, read_systolic


@dataclass(frozen=True, slots=True)
class Shares:
    """Shares of tiles in the fast and in the slow class; they sum to 1."""

    fast: float
    slow: float


def shares_of_bits(bits: float) -> Shares:
    """Return the shares of the classes that give these effective bits, from 3 (all fast) to 4 (all slow)."""
    return Shares(4.0 - bits, bits - 3.0)


def array_points() -> tuple[OperatingPoint, ...]:
    """Return the paper's points of the array, slowest first."""
    return read_systolic("paper_tpu").points


def gpu_points() -> tuple[OperatingPoint, ...]:
    """Return the paper's points of the graphics processor, slowest first."""
    return read_gpu("gpu_2080ti").points


def relative_time(shares: Shares, points: Sequence[OperatingPoint]) -> float:
    """Return the time of a mix of tiles over that of the same tiles at the base clock."""
    base, slow, fast = points
    return shares.fast * fast.period_s / base.period_s + shares.slow * slow.period_s / base.period_s


def shares_of_speed(speed: float, points: Sequence[OperatingPoint]) -> Shares:
    """Return the shares whose mix is `speed` times as fast as the base clock: `relative_time` solved for the shares."""
    base, slow, fast = points
    a, b = fast.period_s / base.period_s, slow.period_s / base.period_s
    slow_share = (1.0 / speed - a) / (b - a)
    return Shares(1.0 - slow_share, slow_share)
