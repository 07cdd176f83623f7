"""Cost of one step of the timeline: time by bound and energy by component, for each layer part.

A layer part is charged for its own switching energy. Time, leakage, transitions and the regulator's loss are divided
among the layer parts in proportion to their work on the arrays.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

from haloquant.accel.cost_model.energy import COMPONENTS, leakage_w, switching_energy_j
from haloquant.accel.cost_model.layer_work import LayerWork
from haloquant.accel.cost_model.memory_traffic import MemoryTraffic
from haloquant.accel.cost_model.schedule_steps import Step
from haloquant.accel.cost_model.time_bounds import StepTime, step_time
from haloquant.accel.results import TIME_PARTS
from haloquant.accel.target import Target

# Columns of every cost table: the parts of time in s, then the components of energy in J.
COST_COLUMNS: tuple[tuple[str, str], ...] = (
    *(("time_s", part) for part in TIME_PARTS),
    *(("energy_j", part) for part in COMPONENTS),
)


@dataclass(frozen=True)
class CostModel:
    """The machine, and three further inputs of the cost of every step.

    `reference_v` is the supply at which the profile's energies hold. `mean_mac_j` is the profile's energy averaged over
    its weight values, for the sparse engine. `switching` is True if the pass changes its operating point; only then
    is there an on-chip regulator.
    """

    target: Target
    reference_v: float
    mean_mac_j: float
    switching: bool


@dataclass(frozen=True)
class StepCost:
    """Times of a step, and the cost of each of its layer parts in the columns `COST_COLUMNS`."""

    times: StepTime
    costs: Float64[np.ndarray, "layer_part cost"]


def cost_of_step(
    step: Step,
    works: Sequence[LayerWork],
    traffics: Sequence[MemoryTraffic],
    model: CostModel,
    fill_s: float,
) -> StepCost:
    """Return the time of a step, and the time and energy of each of its layer parts.

    Args:
        step: The step.
        works: The work of every layer.
        traffics: The bytes that every layer moves.
        model: The machine and the reference of its energies.
        fill_s: Startup latency before the step; above 0 for the first step only.
    """
    target = model.target
    times = step_time(step, works, traffics, target)
    running_w = leakage_w(step, target)
    static = target.static
    transition_s = step.transitions * target.transition.latency_s
    switched_w = static.array_w * target.array.count * step.transition_v / target.base.voltage_v + static.rest_w
    leakage_j = running_w * (times.busy_s + fill_s) + (switched_w * transition_s if step.transitions else 0.0)
    regulated = 1.0 / target.transition.regulator_efficiency - 1.0 if model.switching else 0.0
    array_leakage_j = (running_w - static.rest_w) * times.busy_s
    parts = [
        (part, island, part.folds * works[part.layer].cycles_per_mac)
        for island in step.islands
        for part in island.parts
    ]
    total = sum(weight for _, _, weight in parts)
    rows: list[list[float]] = []
    for part, island, work in parts:
        weight = work / total
        energy = switching_energy_j(part, island, works, traffics, target, model.reference_v, model.mean_mac_j)
        loss = (energy["mac"] + energy["accumulator"] + weight * array_leakage_j) * regulated
        time_s = {times.bound: weight * times.busy_s, "fill": weight * fill_s, "transition": weight * transition_s}
        switches_j = weight * step.transitions * target.transition.energy_j
        energy_j = {**energy, "leakage": weight * leakage_j, "dvfs": switches_j + loss}
        rows.append([time_s.get(name, 0.0) for name in TIME_PARTS] + [energy_j[name] for name in COMPONENTS])
    return StepCost(times, np.array(rows))


def as_time_and_energy(row: Sequence[float]) -> tuple[dict[str, float], dict[str, float]]:
    """Return one row of a cost table as time in s by part and energy in J by component."""
    cut = len(TIME_PARTS)
    return dict(zip(TIME_PARTS, row[:cut], strict=True)), dict(zip(COMPONENTS, row[cut:], strict=True))
