"""Studies under the premise of new silicon: claims, sweeps and explored models at equal area, each system on its best
element. `sweeps` has the same studies on a given MAC.
"""

from collections.abc import Sequence
from dataclasses import replace

from haloquant.accel.elements import Element
from haloquant.accel.results import Simulation
from haloquant.accel.system_comparison import Comparison
from haloquant.accel.target import Target
from haloquant.accel.workload.prefill_decode import Workload
from haloquant.errors import InputError
from haloquant.jobs.machines.element_systems import known_elements
from haloquant.jobs.machines.left_out_systems import left_out_notes
from haloquant.jobs.machines.new_silicon import (
    ElementRun,
    compare_on_new_silicon,
    own_area_m2,
    plain_element,
    systems_at_area,
)
from haloquant.jobs.machines.systems import QuantizedModel
from haloquant.records import MacProfile

RIVALS = ("FP16", "W8A8", "W4A8", "W3A8")
MARK = " in new silicon"


def elements_for(profile: MacProfile, target: Target) -> list[Element]:
    """Return the elements of a MAC's cell library to compare on a machine.

    There are none if the machine claims its clocks or the library has no known 8-bit element.
    """
    if target.array.claimed_clocks:
        return []
    elements = known_elements(profile)
    return elements if any(element.bits == 8 and element.whole for element in elements) else []


def best_runs(
    model: QuantizedModel, workload: Workload, target: Target, elements: Sequence[Element], names: Sequence[str]
) -> dict[str, ElementRun]:
    """Return the best run of each of these systems at the area of the machine's own arrays, by name.

    A system of which no element fits the arrays has no run; `reasons_left_out` says why.
    """
    try:
        found = compare_on_new_silicon(model, [workload], target, elements, only=names)
    except InputError:
        return {}
    return {run.system: run for run in found.runs if run.best}


def reasons_left_out(
    model: QuantizedModel, target: Target, elements: Sequence[Element], names: Sequence[str]
) -> tuple[str, ...]:
    """Return sentences on those of these systems and elements that do not fit the machine's own arrays."""
    if not elements:
        return ()
    area_m2 = own_area_m2(target, plain_element(elements))
    try:
        _, left_out = systems_at_area(model, target, elements, area_m2, names)
    except InputError as error:
        return (f"no comparison in new silicon: {error}",)
    return left_out_notes(left_out, area_m2)


def comparisons_on_new_silicon(
    model: QuantizedModel, workload: Workload, target: Target, elements: Sequence[Element]
) -> dict[str, Comparison]:
    """Return HALO against each rival on one pass, by the rival's name; `why` names both elements and the columns.

    Rivals that do not fit are missing. All are if HALO does not fit.
    """
    runs = best_runs(model, workload, target, elements, ("HALO", *RIVALS))
    if "HALO" not in runs:
        return {}
    ours = runs["HALO"]
    return {
        name: Comparison(
            workload.name, workload.phase, target.name, name, ours.time_s, run.time_s, ours.energy_j, run.energy_j,
            f"{run.columns} columns of {run.element}; HALO: {ours.columns} of {ours.element}",
        )
        for name, run in runs.items() if name != "HALO"
    }  # fmt: skip


def whole_simulation(run: ElementRun) -> Simulation:
    """Return the simulation of a run, with the energies of decoding and scaling among those of its total."""
    found = run.simulation
    total = replace(found.total, energy_j={**found.total.energy_j, **run.side_j})
    return replace(found, system=f"{run.system}{MARK}", total=total)
