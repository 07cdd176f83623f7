"""The files that `--out` of the commands about machines writes: rows as JSON and CSV, charts, traces."""

from collections.abc import Sequence
from pathlib import Path

import msgspec

from haloquant.accel.chart_rows import stacked_bars
from haloquant.accel.results import Simulation
from haloquant.accel.roofline import roofline_points, roofs
from haloquant.accel.target import Target
from haloquant.cli.console import stderr
from haloquant.report.charts import machines
from haloquant.store.atomic_files import write_bytes, write_text
from haloquant.store.result_tables import TableDocument, table_csv, table_json
from haloquant.store.simulation_files import layers_csv, order_csv, simulation_document, trace_json


def write_table(out: Path, name: str, table: TableDocument, chart: machines.Chart | None = None) -> None:
    """Write `name`.json, `name`.csv and, if there is a chart, `name`.png."""
    write_bytes(out / f"{name}.json", table_json(table))
    write_text(out / f"{name}.csv", table_csv(table.rows))
    if chart is not None:
        machines.save_png(chart, out / f"{name}.png")
    _print_names(out, [f"{name}.json", f"{name}.csv", *([f"{name}.png"] if chart is not None else [])])


def write_new_silicon(out: Path, table: TableDocument) -> None:
    """Write the comparison at equal area as JSON and CSV."""
    write_table(out, "new-silicon", table)


def write_runs(out: Path, model: str, runs: Sequence[Simulation], machine: Target) -> None:
    """Write every run as JSON, the cost of every layer as CSV, HALO's traces, and stacked bars and rooflines as PNG."""
    documents = [simulation_document(run, machine) for run in runs]
    write_bytes(out / "simulate.json", msgspec.json.format(msgspec.json.encode(documents), indent=1) + b"\n")
    write_text(out / "layers.csv", layers_csv(runs))
    title = f"{model} on {machine.name}"
    machines.save_png(machines.stacked_costs(stacked_bars(runs), title), out / "stacked.png")
    written = ["simulate.json", "layers.csv", "stacked.png"]
    for phase in dict.fromkeys(run.phase for run in runs):
        ours = next(run for run in runs if run.phase == phase and run.system.startswith("HALO"))
        eight = next(run for run in runs if run.phase == phase and run.system.startswith("W8A8"))
        points = sorted({segment.point for segment in ours.segments}, key=lambda point: point.frequency_hz)
        pair = [(run.system, roofline_points(run)) for run in (ours, eight)]
        chart = machines.roofline_chart(roofs(machine, points), pair, f"{title}, {phase}")
        machines.save_png(chart, out / f"roofline-{phase}.png")
        write_bytes(out / f"trace-{phase}.json", trace_json(ours))
        written += [f"roofline-{phase}.png", f"trace-{phase}.json"]
    _print_names(out, written)


def write_orders(out: Path, runs: Sequence[Simulation]) -> None:
    """Write the fastest order of each phase: its segments as CSV, and a trace."""
    written: list[str] = []
    for phase in dict.fromkeys(run.phase for run in runs):
        best = min((run for run in runs if run.phase == phase), key=lambda run: run.time_s)
        write_text(out / f"order-{phase}.csv", order_csv(best))
        write_bytes(out / f"trace-{phase}.json", trace_json(best))
        written += [f"order-{phase}.csv", f"trace-{phase}.json"]
    _print_names(out, written)


def _print_names(out: Path, names: Sequence[str]) -> None:
    """Print the names of the written files to stderr, so that stdout holds nothing but results."""
    stderr.print(f"{', '.join(names)} in {out}", style="dim", highlight=False, soft_wrap=True)
