"""The table of the comparison in new silicon, which `simulate` shows below that of given silicon."""

from collections.abc import Sequence

from rich.table import Table

from haloquant.accel.chart_rows import limiting_resource
from haloquant.jobs.machines.new_silicon import ElementRun, NewSilicon
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


def _base(runs: Sequence[ElementRun], phase: str) -> ElementRun:
    return next(run for run in runs if run.best and run.phase == phase and run.system == BASE_SYSTEM)
