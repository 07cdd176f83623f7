"""Energy under a deadline: run slowly and just in time, or race and then idle.

A plan for a deadline needs the least energy over supplies, as EdgeBERT does per sentence (the lowest step of the
regulator whose clock still makes it). The candidates are whole simulations, one per supply; which of them is best is
all that is decided here.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from haloquant.accel.results import Simulation
from haloquant.errors import InfeasibleError, InputError
from haloquant.units import engineering


@dataclass(frozen=True)
class Timed:
    """A run inside a period: its own energy, and what idling costs until the period is over."""

    mode: str
    simulation: Simulation
    period_s: float
    idle_j: float

    @property
    def energy_j(self) -> float:
        """Energy over the whole period."""
        return self.simulation.total.total_energy_j + self.idle_j


def race_to_idle(fastest: Simulation, period_s: float, idle_w: float) -> Timed:
    """Return the fastest run followed by idling at `idle_w` until the period is over.

    Raises:
        InfeasibleError: if the run does not fit the period; it says the least possible.
        InputError: if a figure is negative.
    """
    _check(period_s, idle_w)
    if fastest.time_s > period_s:
        raise _too_short(period_s, fastest.time_s)
    return Timed("race-to-idle", fastest, period_s, idle_w * (period_s - fastest.time_s))


def meet_deadline(candidates: Sequence[Simulation], period_s: float, idle_w: float) -> Timed:
    """Return the candidate with the least energy over the period among those that end in time.

    Args:
        candidates: The same pass at different supplies, each at the fastest clock of its supply.
        period_s: The deadline, which is also when the next pass begins.
        idle_w: Power from the end of the run to the deadline.

    Raises:
        InfeasibleError: if none ends in time; it says the least possible.
        InputError: if a figure is negative or there is no candidate.
    """
    _check(period_s, idle_w)
    if not candidates:
        raise InputError("candidates of a deadline must be at least one simulation, not none.")
    fit = [run for run in candidates if run.time_s <= period_s]
    if not fit:
        raise _too_short(period_s, min(run.time_s for run in candidates))
    timed = [Timed("deadline", run, period_s, idle_w * (period_s - run.time_s)) for run in fit]
    return min(timed, key=lambda item: item.energy_j)


def _check(period_s: float, idle_w: float) -> None:
    if not period_s > 0:
        raise InputError(f"deadline must be above 0 s, not {period_s:g} s.")
    if not idle_w >= 0:
        raise InputError(f"idle power must be at least 0 W, not {idle_w:g} W.")


def _too_short(period_s: float, least_s: float) -> InfeasibleError:
    return InfeasibleError(
        f"deadline must be at least {engineering(least_s, 's', 4)}, the fastest this machine can do, "
        f"not {engineering(period_s, 's', 4)}."
    )
