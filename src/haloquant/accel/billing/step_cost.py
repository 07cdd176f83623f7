"""What one step of the timeline costs: its time by the bound that held, and its energy by component, piece by piece.

A piece pays for its own switching; all else (time, leakage, transitions, the regulator's loss) is shared out in
proportion to the work on the arrays.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

from haloquant.accel.billing.energy import COMPONENTS, leakage_w, piece_energy
from haloquant.accel.billing.layer_work import LayerWork
from haloquant.accel.billing.memory_traffic import Traffic
from haloquant.accel.billing.steps import Step
from haloquant.accel.billing.time_bounds import StepTime, step_time
from haloquant.accel.results import TIME_PARTS
from haloquant.accel.target import Target

PARTS: tuple[tuple[str, str], ...] = (
    *(("time_s", part) for part in TIME_PARTS),
    *(("energy_j", part) for part in COMPONENTS),
)


@dataclass(frozen=True)
class Bill:
    """Times of a step, and for each of its pieces the seconds and joules of every one of `PARTS`."""

    times: StepTime
    parts: Float64[np.ndarray, "piece part"]


def bill(
    step: Step,
    works: Sequence[LayerWork],
    moves: Sequence[Traffic],
    target: Target,
    reference_v: float,
    mean_mac_j: float,
    fill_s: float,
    switching: bool,
) -> Bill:
    """Return what a step costs.

    Args:
        step: The step.
        works: All layers' work.
        moves: All layers' bytes.
        target: The machine.
        reference_v: The supply at which the profile's energies hold.
        mean_mac_j: The profile's energy averaged over its weight values, for the sparse engine.
        fill_s: Time before the step that nothing hides, above 0 for the first one only.
        switching: Whether the pass changes its operating point at all: only then is there an on-chip regulator.
    """
    times = step_time(step, works, moves, target)
    running_w = leakage_w(step, target)
    static = target.static
    transition_s = step.transitions * target.transition.latency_s
    switched_w = static.array_w * target.array.count * step.transition_v / target.base.voltage_v + static.rest_w
    leakage_j = running_w * (times.busy_s + fill_s) + (switched_w * transition_s if step.transitions else 0.0)
    regulated = 1.0 / target.transition.regulator_efficiency - 1.0 if switching else 0.0
    array_leakage_j = (running_w - static.rest_w) * times.busy_s
    pieces = [(piece, lane, piece.folds * works[piece.layer].stretch) for lane in step.lanes for piece in lane.pieces]
    total = sum(weight for _, _, weight in pieces)
    rows: list[list[float]] = []
    for piece, lane, work in pieces:
        weight = work / total
        energy = piece_energy(piece, lane, works, moves, target, reference_v, mean_mac_j)
        loss = (energy["mac"] + energy["accumulator"] + weight * array_leakage_j) * regulated
        time_s = {times.bound: weight * times.busy_s, "fill": weight * fill_s, "transition": weight * transition_s}
        switches_j = weight * step.transitions * target.transition.energy_j
        energy_j = {**energy, "leakage": weight * leakage_j, "dvfs": switches_j + loss}
        rows.append([time_s.get(part, 0.0) for part in TIME_PARTS] + [energy_j[part] for part in COMPONENTS])
    return Bill(times, np.array(rows))


def as_parts(row: Sequence[float]) -> tuple[dict[str, float], dict[str, float]]:
    """Return a row of `PARTS` as time by part and energy by part."""
    cut = len(TIME_PARTS)
    return dict(zip(TIME_PARTS, row[:cut], strict=True)), dict(zip(COMPONENTS, row[cut:], strict=True))
