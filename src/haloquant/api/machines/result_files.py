"""Write results about machines to a folder: rows as JSON and CSV, charts as PNG, traces."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from haloquant.accel.chart_rows import stacked_bars
from haloquant.accel.results import Simulation
from haloquant.accel.roofline import roofline_points, roofs
from haloquant.accel.target import Target
from haloquant.api.machines.result_tables import file_name, flat_rows, new_silicon_table, result_table
from haloquant.api.machines.simulation import MachineComparison
from haloquant.api.machines.studies import Study
from haloquant.api.machines.tile_orders import PolicyComparison
from haloquant.report.charts import machines
from haloquant.report.charts.policies import policy_chart
from haloquant.store.atomic_files import claim_output, write_bytes, write_text
from haloquant.store.result_tables import TableDocument, table_csv, table_json
from haloquant.store.simulation_files import layers_csv, order_csv, simulation_document, trace_json


def save_results(found: MachineComparison | Study[Any] | PolicyComparison, folder: str | Path) -> tuple[Path, ...]:
    """Write what a question about machines found, as `--out` of its command does.

    A study becomes NAME.json and NAME.csv, and most become NAME.png. A simulation becomes simulate.json, layers.csv,
    pictures of its parts and of its rooflines, a trace of each phase that ui.perfetto.dev opens, and the comparison in
    new silicon. A comparison of tile orders also has the fastest order of each phase, and its trace.

    Args:
        found: Result of `simulate`, `check_claims`, `sweep`, `meet_deadline`, `estimate_gpu`, `compare_multipliers` or
            `schedule`.
        folder: Folder that is empty, does not exist yet, or was made by haloquant.

    Returns:
        The written files.

    Raises:
        InputError: The folder holds other files, or cannot be written.

    Example:
        ```python
        import haloquant
        from haloquant.api import save_results

        for file in save_results(haloquant.simulate("llama2-7b"), "simulated"):
            print(file)
        ```
    """
    folder = Path(folder)
    claim_output(folder)
    if isinstance(found, MachineComparison):
        names = _write_simulations(folder, found.model, found.simulations, found.machine)
        if found.new_silicon:
            table = new_silicon_table(found.model, found.machine, found.new_silicon)
            names += _write_table(folder, "new-silicon", table, None)
    else:
        names = _write_table(folder, file_name(found), result_table(found), _chart(found))
    if isinstance(found, PolicyComparison):
        names += _write_orders(folder, found.simulations)
    return tuple(folder / name for name in names)


def _chart(found: Study[Any] | PolicyComparison) -> machines.Chart | None:
    """Return the picture of a result; None if its rows are only read."""
    rows, title = flat_rows(found), f"{found.model} on {found.machine.name}"
    first: Any = found.rows[0]
    match file_name(found):
        case "schedule":
            return policy_chart(rows, title)
        case "claims" if isinstance(found, Study):
            return machines.claims_chart(rows, f"{found.fast_share:.0%} fast tiles")
        case "sweep-bandwidth-clock":
            return machines.bandwidth_clock_map(rows, title)
        case name if name.startswith("sweep-"):
            return machines.sweep_chart(rows, title)
        case "deadline":
            return machines.deadline_chart(rows, first.period_s, f"{title}, {first.period_s * 1e3:g} ms")
        case _:
            return None


def _write_table(folder: Path, name: str, table: TableDocument, chart: machines.Chart | None) -> list[str]:
    """Write `name`.json, `name`.csv and, if there is a chart, `name`.png."""
    write_bytes(folder / f"{name}.json", table_json(table))
    write_text(folder / f"{name}.csv", table_csv(table.rows))
    if chart is not None:
        machines.save_png(chart, folder / f"{name}.png")
    return [f"{name}.json", f"{name}.csv", *([f"{name}.png"] if chart is not None else [])]


def _write_simulations(folder: Path, model: str, runs: Sequence[Simulation], machine: Target) -> list[str]:
    """Write every run as JSON, the cost of every layer as CSV, HALO's traces, and stacked bars and rooflines as PNG."""
    documents = [simulation_document(run, machine) for run in runs]
    write_bytes(folder / "simulate.json", msgspec.json.format(msgspec.json.encode(documents), indent=1) + b"\n")
    write_text(folder / "layers.csv", layers_csv(runs))
    title = f"{model} on {machine.name}"
    machines.save_png(machines.stacked_costs(stacked_bars(runs), title), folder / "stacked.png")
    written = ["simulate.json", "layers.csv", "stacked.png"]
    for phase in dict.fromkeys(run.phase for run in runs):
        ours = next(run for run in runs if run.phase == phase and run.system.startswith("HALO"))
        eight = next(run for run in runs if run.phase == phase and run.system.startswith("W8A8"))
        points = sorted({segment.point for segment in ours.segments}, key=lambda point: point.frequency_hz)
        pair = [(run.system, roofline_points(run)) for run in (ours, eight)]
        chart = machines.roofline_chart(roofs(machine, points), pair, f"{title}, {phase}")
        machines.save_png(chart, folder / f"roofline-{phase}.png")
        write_bytes(folder / f"trace-{phase}.json", trace_json(ours))
        written += [f"roofline-{phase}.png", f"trace-{phase}.json"]
    return written


def _write_orders(folder: Path, runs: Sequence[Simulation]) -> list[str]:
    """Write the fastest order of each phase: its segments as CSV, and a trace."""
    written: list[str] = []
    for phase in dict.fromkeys(run.phase for run in runs):
        best = min((run for run in runs if run.phase == phase), key=lambda run: run.time_s)
        write_text(folder / f"order-{phase}.csv", order_csv(best))
        write_bytes(folder / f"trace-{phase}.json", trace_json(best))
        written += [f"order-{phase}.csv", f"trace-{phase}.json"]
    return written
