"""The table of the comparison in new silicon, which `simulate` shows below that of given silicon."""

from collections.abc import Sequence

from rich.table import Table

from haloquant.accel.chart_rows import limiting_resource
from haloquant.jobs.machines.new_silicon import ElementRun, NewSilicon
from haloquant.records import OperatingPoint
from haloquant.units import engineering

BASE_SYSTEM = "W8A8"


def clocks_text(points: Sequence[OperatingPoint], base_v: float) -> str:
    """Return the clocks of the classes in GHz, and their supplies where one is below the machine's."""
    clocks = list(dict.fromkeys(f"{point.frequency_hz / 1e9:.2f}" for point in points))
    if all(point.voltage_v == base_v for point in points):
        return "/".join(f"{point.frequency_hz / 1e9:.2f}" for point in points)
    return "/".join(clocks) + " at " + "/".join(f"{point.voltage_v:.2f}" for point in points) + " V"


def new_silicon_table(found: NewSilicon, title: str, every: bool, base_v: float) -> Table:
    """Return a table of the best element of each system, or of every element, with ratios to the best W8A8.

    Systems that fit no element have a row with the reason, and with `every` other elements that do not fit have one,
    too. There are no ratios if W8A8 does not fit. `base_v` is the machine's own supply in V.
    """
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
            clocks_text(run.points, base_v),
            engineering(run.time_s, "s"),
            f"{base.time_s / run.time_s:.2f}×" if base else "–",
            engineering(run.energy_j, "J"),
            f"{run.energy_j / base.energy_j:.2f}" if base else "–",
            f"{held} {run.simulation.total.time_s[held] / run.time_s:.0%}",
        )
    for left in found.left_out:
        if left.whole_system or every:
            table.add_row("–", left.system, left.element, "0", *"–" * 5, f"left out: {left.reason}")
    return table


def _base(runs: Sequence[ElementRun], phase: str) -> ElementRun | None:
    return next((run for run in runs if run.best and run.phase == phase and run.system == BASE_SYSTEM), None)
