"""How much slower a multiplier is at a lower supply: measured where its profile has voltages, else assumed aloud."""

from collections.abc import Callable
from dataclasses import dataclass

from haloquant.accel.target import Target
from haloquant.dvfs.alpha_power_law import alpha_power_delay, vf_curve
from haloquant.errors import InfeasibleError
from haloquant.records import MacProfile

ASSUMED_THRESHOLD_V, ASSUMED_ALPHA = 0.35, 1.3  # the middle of the published ranges, docs/stages/accelerators.md
ASSUMED_LOWEST = 0.6  # of the base supply: memories and flip-flops stop long before the multiplier's threshold


@dataclass(frozen=True)
class SupplyLaw:
    """Delay at a supply of the machine relative to that at its base supply, down to `lowest_v`. `said`: whence."""

    delay: Callable[[float], float]
    lowest_v: float
    said: str


def measured_law(profile: MacProfile, target: Target) -> SupplyLaw:
    """Return the law fitted to a profile's voltages, its highest one standing for the machine's base supply.

    Raises:
        InfeasibleError: the profile has fewer than three voltages of one process and temperature.
    """
    curve = vf_curve(profile)
    base_v, highest_v, lowest_v = target.base.voltage_v, curve.voltage_v[-1], curve.voltage_v[0]
    scale = highest_v / base_v
    law = alpha_power_delay(curve.threshold_v, curve.alpha, highest_v)
    said = (
        f"measured: fitted to {len(curve.voltage_v)} voltages of profile {profile.name} ({lowest_v:g} to "
        f"{highest_v:g} V, {curve.process}, {curve.temperature_c:g} °C, worst error {curve.worst_error:.1%}); "
        f"{highest_v:g} V stands for this machine's {base_v:g} V, and no supply below the lowest measured is used"
    )
    return SupplyLaw(lambda voltage_v: law(voltage_v * scale), lowest_v / scale, said)


def supply_law(profile: MacProfile, target: Target) -> SupplyLaw:
    """Return the measured law, or, where there are too few voltages, an assumed one that says so."""
    try:
        return measured_law(profile, target)
    except InfeasibleError as reason:
        base_v = target.base.voltage_v
        said = (
            f"ASSUMED, not measured: alpha-power law with a threshold of {ASSUMED_THRESHOLD_V:g} V and an exponent of "
            f"{ASSUMED_ALPHA:g}, down to {ASSUMED_LOWEST:.0%} of the base supply; {reason}"
        )
        return SupplyLaw(alpha_power_delay(ASSUMED_THRESHOLD_V, ASSUMED_ALPHA, base_v), ASSUMED_LOWEST * base_v, said)
