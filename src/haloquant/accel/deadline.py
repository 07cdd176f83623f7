"""Energy under a deadline: run at a lower supply and finish just in time, or run fast and then idle.

The candidates are whole simulations, one per supply; this module chooses among them. `dvfs.sentence_deadline` chooses a
clock for each token, as EdgeBERT (arXiv 2011.14203) does.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from haloquant.accel.results import Simulation
from haloquant.dvfs.sentence_deadline import check_deadline, too_short
from haloquant.errors import InputError


@dataclass(frozen=True)
class DeadlineRun:
    """A run that ends within a period. `idle_j` is the energy of idling until the period is over."""

    mode: str
    simulation: Simulation
    period_s: float
    idle_j: float

    @property
    def energy_j(self) -> float:
        """Energy in J over the whole period."""
        return self.simulation.total.total_energy_j + self.idle_j


def race_to_idle(fastest: Simulation, period_s: float, idle_w: float) -> DeadlineRun:
    """Return the fastest run followed by idling at `idle_w` until the period is over.

    Raises:
        InfeasibleError: The run is longer than the period. The error names the shortest possible period.
        InputError: The period is not positive, or the idle power is negative.
    """
    check_deadline(period_s, idle_w)
    if fastest.time_s > period_s:
        raise too_short(period_s, fastest.time_s)
    return DeadlineRun("race-to-idle", fastest, period_s, idle_w * (period_s - fastest.time_s))


def meet_deadline(candidates: Sequence[Simulation], period_s: float, idle_w: float) -> DeadlineRun:
    """Return the candidate that ends in time with the least energy over the period.

    Args:
        candidates: The same pass at different supplies, each at the fastest clock of its supply.
        period_s: The deadline, at which the next pass begins.
        idle_w: Power in W from the end of the run to the deadline.

    Raises:
        InfeasibleError: No candidate ends in time. The error names the shortest possible deadline.
        InputError: The period is not positive, the idle power is negative, or there is no candidate.
    """
    check_deadline(period_s, idle_w)
    if not candidates:
        raise InputError("candidates of a deadline must be at least one simulation, not none")
    fit = [run for run in candidates if run.time_s <= period_s]
    if not fit:
        raise too_short(period_s, min(run.time_s for run in candidates))
    timed = [DeadlineRun("deadline", run, period_s, idle_w * (period_s - run.time_s)) for run in fit]
    return min(timed, key=lambda item: item.energy_j)
