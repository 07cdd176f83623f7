"""The arithmetic of shares, clocks and bits."""

import pytest

from haloquant.jobs.paper.clock_mix import (
    Shares,
    array_points,
    gpu_points,
    relative_time,
    shares_of_bits,
    shares_of_speed,
)
from haloquant.records import OperatingPoint

POINTS = (OperatingPoint(1.0, 1e9), OperatingPoint(1.0, 2e9), OperatingPoint(1.0, 4e9))


def test_a_mix_takes_the_sum_of_its_periods() -> None:
    assert relative_time(Shares(1.0, 0.0), POINTS) == 0.25
    assert relative_time(Shares(0.5, 0.5), POINTS) == 0.375
    assert shares_of_bits(3.25) == Shares(0.75, 0.25)


@pytest.mark.parametrize("points", [POINTS, array_points(), gpu_points()])
@pytest.mark.parametrize("bits", [3.0, 3.06, 3.5, 4.0])
def test_shares_of_a_speed_are_the_shares_that_have_it(points: tuple[OperatingPoint, ...], bits: float) -> None:
    shares = shares_of_bits(bits)
    found = shares_of_speed(1 / relative_time(shares, points), points)
    assert (found.fast, found.slow) == pytest.approx((shares.fast, shares.slow), abs=1e-12)
