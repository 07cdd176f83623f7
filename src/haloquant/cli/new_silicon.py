"""The table and the rows of the comparison in new silicon, which `simulate` shows below that of given silicon."""

from collections.abc import Sequence
from typing import Any

from rich.table import Table

from haloquant.accel.chart_rows import limiting_resource
from haloquant.accel.target import Target
from haloquant.jobs.machines.new_silicon import ElementRun, NewSilicon
from haloquant.store.result_tables import TableDocument, table_document
from haloquant.units import engineering

BASE_SYSTEM = "W8A8"


def new_silicon_table(found: NewSilicon, title: str, every: bool) -> Table:
    """Return a table of the best element of each system, or of every element, with ratios to the best W8A8."""
    table = Table(
        "pass", "system", "element", "columns", "clock, GHz", "time", "speed", "energy", "energy ratio", "bound, share",
        title=title, title_justify="left",
    )  # fmt: skip
    for run in found.runs:
        if not (run.best or every):
            continue
        base = _base(found.runs, run.phase)
        held = limiting_resource(run.simulation)
        table.add_row(
            run.phase,
            run.system,
            run.element + (" *" if every and run.best else ""),
            str(run.columns),
            "/".join(f"{p.frequency_hz / 1e9:.2f}" for p in run.points),
            engineering(run.time_s, "s"),
            f"{base.time_s / run.time_s:.2f}×",
            engineering(run.energy_j, "J"),
            f"{run.energy_j / base.energy_j:.2f}",
            f"{held} {run.simulation.total.time_s[held] / run.time_s:.0%}",
        )
    return table


def new_silicon_rows(found: NewSilicon) -> list[dict[str, Any]]:
    """Return one row for each system, element and phase: times in s, energies in J, areas in mm2, clocks in Hz."""
    return [
        {
            "phase": run.phase,
            "system": run.system,
            "element": run.element,
            "best": run.best,
            "columns": run.columns,
            "array_area_mm2": run.array_area_m2 * 1e6,
            "fastest_clock_hz": max(point.frequency_hz for point in run.points),
            "time_s": run.time_s,
            "energy_j": run.energy_j,
            **{f"{part}_j": joules for part, joules in {**run.simulation.total.energy_j, **run.side_j}.items()},
        }
        for run in found.runs
    ]


def new_silicon_document(model: str, machine: Target, found: NewSilicon) -> TableDocument:
    """Return the rows as a table to be written as JSON."""
    return table_document("new-silicon", model, found.plain, machine, new_silicon_rows(found), found.notes)


def _base(runs: Sequence[ElementRun], phase: str) -> ElementRun:
    return next(run for run in runs if run.best and run.phase == phase and run.system == BASE_SYSTEM)
