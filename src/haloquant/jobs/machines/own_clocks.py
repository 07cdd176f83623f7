"""Clocks by a profile's own picoseconds, with the base clock of the machine as the limit.

By default a machine's base clock is what the slowest weight value of the given MAC meets (`method_cost`). That suits
one MAC with several systems. It says nothing about two MACs, because the slower one gets the same clock. Here a set of
values runs at the clock that its own delay allows, in seconds as the profile gives them, and never above the base clock
of the machine.
"""

from dataclasses import dataclass, replace

from haloquant.accel.rival_systems import System
from haloquant.accel.target import Target
from haloquant.errors import InputError
from haloquant.records import MacProfile, OperatingPoint
from haloquant.units import engineering


@dataclass(frozen=True)
class OwnClocks:
    """A machine on which a MAC's own delays set the clocks.

    Attributes:
        machine: the machine; its base clock is that of the slowest value, or the limit if that is lower.
        unlimited: the same machine if nothing limited its clock; clocks of classes are made on it.
        used: share of the base period that the slowest value takes, at most 1.
        note: a sentence that says what sets the clocks.
    """

    machine: Target
    unlimited: Target
    used: float
    note: str


def own_clocks(target: Target, profile: MacProfile, corner: int, delay_factor: float) -> OwnClocks:
    """Return the machine on which a period is a delay of the profile times a factor.

    Args:
        target: The machine; its base clock is the limit.
        profile: The MAC.
        corner: The profile's corner.
        delay_factor: Period over the delay of the gates: room for wires, clock skew and variation.

    Raises:
        InputError: The machine claims its clocks, so no profile sets them.
    """
    if target.array.claimed_clocks:
        raise InputError(f"clock own needs a machine whose clocks a profile sets, and {target.name} claims its clocks")
    slowest_s = delay_factor * float(profile.delay_s[corner].max())
    limit = target.base
    unlimited = with_base_clock(target, 1.0 / slowest_s)
    machine = with_base_clock(target, min(1.0 / slowest_s, limit.frequency_hz))
    note = (
        f"clocks by {profile.name}'s own delays{_times(delay_factor)}: all its values meet "
        f"{engineering(1.0 / slowest_s, 'Hz')}; the limit is {target.name}'s base clock, "
        f"{engineering(limit.frequency_hz, 'Hz')}"
    )
    return OwnClocks(machine, unlimited, slowest_s / machine.base.period_s, note)


def scaled_clock_note(target: Target, profile: MacProfile, corner: int) -> str:
    """Return the sentence on the other rule: the slowest value takes one period of the base clock."""
    factor = target.base.period_s / float(profile.delay_s[corner].max())
    return (
        f"given silicon: {profile.name}'s slowest value takes one period of {target.name}'s base clock, "
        f"{factor:.2f} times its own delay; with --clock own its own delays set the clocks"
    )


def limited(system: System, machine: Target) -> System:
    """Return the system with no clock above the machine's base clock."""
    limit_hz = machine.base.frequency_hz
    points = tuple(replace(point, frequency_hz=min(point.frequency_hz, limit_hz)) for point in system.points)
    return replace(system, points=points)


def with_base_clock(target: Target, frequency_hz: float) -> Target:
    """Return the machine at another base clock and the same supply."""
    return replace(target, points=(OperatingPoint(target.base.voltage_v, frequency_hz),))


def _times(factor: float) -> str:
    return "" if factor == 1 else f" times {factor:g}"
