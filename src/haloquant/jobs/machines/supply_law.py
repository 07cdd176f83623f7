"""How much slower a multiplier is at a lower supply: fitted to its profile's voltages, or assumed if there are few."""

import math
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cache

from haloquant.accel.target import Target
from haloquant.dvfs.alpha_power_law import alpha_power_delay, vf_curve
from haloquant.dvfs.supply_modes import eco_points, voltage_steps
from haloquant.errors import InfeasibleError
from haloquant.records import MacProfile, OperatingPoint
from haloquant.store.profiles import read_profile, shipped_profiles

ASSUMED_THRESHOLD_V, ASSUMED_ALPHA = 0.35, 1.3  # middle of the published ranges, see docs/stages/accelerators.md
ASSUMED_LOWEST = 0.6  # share of the base supply; memories and flip-flops fail far above the multiplier's threshold


@dataclass(frozen=True)
class SupplyLaw:
    """The delay at a supply in volts, relative to the delay at the machine's base supply.

    It holds down to `lowest_v`. `source` says in words where it comes from.
    """

    delay: Callable[[float], float]
    lowest_v: float
    source: str


@dataclass(frozen=True)
class OneSupply:
    """One supply in volts for all that the arrays hold, and the delay there relative to that at the base supply."""

    voltage_v: float
    delay: float


def lower_supply(own: OperatingPoint, base: OperatingPoint, law: SupplyLaw) -> OperatingPoint:
    """Return the base clock at the lowest supply that allows it, in steps of a regulator.

    `own` is the clock that is met at the base supply. If `own` is slower than the base clock, `own` is returned.
    Without slack for a step, the base point is returned.
    """
    if own.frequency_hz < base.frequency_hz:
        return own
    steps = voltage_steps(law.lowest_v, base.voltage_v)
    (point,) = eco_points((own.period_s,), base.frequency_hz, law.delay, steps)
    return base if math.isclose(point.voltage_v, base.voltage_v) else point


def measured_supply_law(profile: MacProfile, target: Target) -> SupplyLaw:
    """Return the alpha-power law fitted to a profile's voltages; the highest one is taken as the machine's base supply.

    Raises:
        InfeasibleError: The profile has fewer than three voltages of one process and temperature.
    """
    curve = vf_curve(profile)
    base_v, highest_v, lowest_v = target.base.voltage_v, curve.voltage_v[-1], curve.voltage_v[0]
    scale = highest_v / base_v
    law = alpha_power_delay(curve.threshold_v, curve.alpha, highest_v)
    source = (
        f"measured: fitted to {len(curve.voltage_v)} voltages of profile {profile.name} ({lowest_v:g} to "
        f"{highest_v:g} V, {curve.process}, {curve.temperature_c:g} °C, worst error {curve.worst_error:.1%}); "
        f"{highest_v:g} V stands for this machine's {base_v:g} V, and no supply below the lowest measured is used"
    )
    return SupplyLaw(lambda voltage_v: law(voltage_v * scale), lowest_v / scale, source)


@cache
def _of_several_voltages() -> tuple[MacProfile, ...]:
    """The profiles of the package with several corners."""
    known = (read_profile(path) for path in shipped_profiles().values())
    return tuple(profile for profile in known if len(profile.corners) > 1)


def choose_supply_law(
    profile: MacProfile, target: Target, known: Callable[[], Iterable[MacProfile]] = _of_several_voltages
) -> SupplyLaw:
    """Return the law of the profile's own voltages, else that of another unit of its library, else an assumed one.

    Args:
        profile: The profile.
        target: The machine.
        known: Returns profiles that may be of the same cell library; by default those of the package. It is called if
            the profile has too few voltages.

    Returns:
        The law; its `source` says which of the three it is.
    """
    try:
        return measured_supply_law(profile, target)
    except InfeasibleError as reason:
        for other in known():
            if _library(other) != _library(profile) or other.corners[0] != profile.corners[0]:
                continue
            with suppress(InfeasibleError):
                law = measured_supply_law(other, target)
                return replace(law, source=f"of another unit of {_library(profile)}, {law.source}")
        base_v = target.base.voltage_v
        source = (
            f"ASSUMED, not measured: alpha-power law with a threshold of {ASSUMED_THRESHOLD_V:g} V and an exponent of "
            f"{ASSUMED_ALPHA:g}, down to {ASSUMED_LOWEST:.0%} of the base supply; {reason}"
        )
        return SupplyLaw(alpha_power_delay(ASSUMED_THRESHOLD_V, ASSUMED_ALPHA, base_v), ASSUMED_LOWEST * base_v, source)


def _library(profile: MacProfile) -> str:
    """The cell library of the first corner; the profile's own name where none is known."""
    return profile.library or profile.name
