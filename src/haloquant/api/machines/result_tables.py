"""Results about machines as tables of plain numbers, which `--json` prints and `save_results` writes."""

from collections.abc import Sequence
from typing import Any

from haloquant.accel.chart_rows import ComparisonRow, DeadlineRow, comparison_row
from haloquant.accel.target import Target
from haloquant.api.machines.studies import Study
from haloquant.api.machines.tile_orders import PolicyComparison
from haloquant.jobs.machines.new_silicon import NewSilicon
from haloquant.jobs.machines.sweeps import Claim, Deadlines
from haloquant.store.result_tables import Row, TableDocument, records_to_rows, table_document


def result_table(found: Study[Any] | PolicyComparison) -> TableDocument:
    """Return the rows of a result, with the model, the MAC, the machine and the notes."""
    question, rows = file_name(found).partition("-")[0], records_to_rows(flat_rows(found))
    return table_document(question, found.model, found.profile, found.machine, rows, found.notes)


def flat_rows(found: Study[Any] | PolicyComparison) -> Sequence[Any]:
    """Return the rows of a result without nested records.

    A claim becomes a row under the paper's premises, one under those of the machine, and one in new silicon. A deadline
    becomes one row for each supply that was tried.
    """
    rows: Any = found.rows
    if rows and isinstance(rows[0], Claim):
        return comparison_rows(rows, found.machine.name)
    if rows and isinstance(rows[0], Deadlines):
        return deadline_rows(rows[0])
    return rows


def comparison_rows(claims: Sequence[Claim], machine: str) -> list[ComparisonRow]:
    """Return the rows of each claim: under the paper's premises, those of the machine, and in new silicon if known."""
    rows: list[ComparisonRow] = []
    for one in claims:
        rows += [comparison_row("paper", one.paper), comparison_row(machine, one.described)]
        if one.new_silicon:
            rows.append(comparison_row(f"{machine}, new silicon", one.new_silicon))
    return rows


def deadline_rows(found: Deadlines) -> list[DeadlineRow]:
    """Return one row for each supply that was tried; a row says which of the two ways chose it."""
    names = (
        (found.race_to_idle.simulation, found.race_to_idle.mode),
        (found.least_energy.simulation, found.least_energy.mode),
    )
    return [
        DeadlineRow(
            factor,
            run.time_s,
            run.total.total_energy_j + (idle := found.idle_w * max(0.0, found.period_s - run.time_s)),
            idle,
            run.time_s <= found.period_s,
            ", ".join(mode for chosen, mode in names if chosen is run),
        )
        for factor, run in found.candidates
    ]


def file_name(found: Study[Any] | PolicyComparison) -> str:
    """Return the name, without an ending, of the files of a result: "sweep-transition", "claims", "schedule"."""
    return found.question if isinstance(found, Study) else "schedule"


def new_silicon_table(model: str, machine: Target, found: NewSilicon) -> TableDocument:
    """Return one row for each system, element and phase: times in s, energies in J, areas in mm2, clocks in Hz.

    What does not fit has a row of no columns, with the least area that it needs and the reason.
    """
    rows: list[Row] = [
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
    rows += [
        {
            "phase": phase,
            "system": left.system,
            "element": left.element,
            "best": False,
            "columns": 0,
            "least_area_mm2": left.least_area_m2 * 1e6,
            "left_out": left.reason,
        }
        for phase in dict.fromkeys(run.phase for run in found.runs)
        for left in found.left_out
    ]
    return table_document("new-silicon", model, found.plain, machine, rows, found.notes)
