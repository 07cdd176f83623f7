"""`simulate`, `schedule`, `explore`, `targets`: what a model takes on a machine, and where the Pareto front runs."""

from pathlib import Path
from typing import Annotated, Literal

import msgspec
import typer
from rich.table import Table

from haloquant.cli.console import progress, stdout
from haloquant.cli.machine_options import Asked, Files, asks, left_notes, open_model, passes
from haloquant.cli.options import Json, Out, Quiet
from haloquant.recipe import Recipe, read_recipe
from haloquant.units import engineering


def register(app: typer.Typer) -> None:
    """Add this room's commands."""
    app.command(
        epilog="`haloquant simulate llama2-7b --target tpuv4i_like` · `haloquant simulate demo-halo --trace trace.json`"
    )(simulate)
    app.command(epilog="`haloquant schedule demo-halo --target edge_lpddr5x --policy serpentine`")(schedule)
    app.command(epilog="`haloquant explore --tile 128 --tile 64 --profile default --out explored --workers 2`")(explore)
    app.command(epilog="`haloquant targets`")(targets)


@asks()
def simulate(
    asked: Asked,
    mode: Annotated[
        Literal["boost", "eco"],
        typer.Option(
            help="Spend slack on the clock, or on the supply at the same clock; eco needs a profile of three voltages "
            "(sky130hd-digitsdadda_ks+lone-mul-abc)."
        ),
    ] = "boost",
    trace: Annotated[
        Path | None, typer.Option(help="Write HALO's decode as a trace that ui.perfetto.dev opens.")
    ] = None,
    csv: Annotated[Path | None, typer.Option(help="Write every layer's cost of every system.")] = None,
    out: Files = None,
    json: Json = False,
) -> None:
    """How long a model takes on a machine and what it draws, beside FP16, W8A8, W4A8 and W3A8 on the same machine."""
    from haloquant.accel.chart_rows import limiting_resource
    from haloquant.jobs.machines import systems as machines
    from haloquant.store.atomic_files import claim_output, write_bytes, write_text
    from haloquant.store.simulation_files import layers_csv, simulation_document, trace_json

    if out:
        claim_output(out)
    machine, loaded = open_model(asked)
    runs = []
    for workload in passes(asked, loaded):
        systems = [*machines.rivals(loaded, workload, machine), machines.halo_system(loaded, workload, machine, mode)]
        runs += [(system, machines.run_system(system, workload, machine, loaded)) for system in systems]
    found = [run for _, run in runs]
    if trace:
        write_bytes(trace, trace_json(found[-1]))
    if csv:
        write_text(csv, layers_csv(found))
    if out:
        from haloquant.cli.output_files import write_runs  # drawing is slow to load

        write_runs(out, loaded.name, found, machine)
    if json:
        documents = [simulation_document(run, machine) for run in found]
        stdout.print(msgspec.json.encode(documents).decode(), highlight=False, markup=False, soft_wrap=True)
        return
    table = Table(
        "pass", "system", "clock, GHz", "time", "speed", "energy", "energy ratio", "bound, share", "transitions",
        title=f"{loaded.name} on {machine.name} (speed and energy ratio: W8A8 = 1; above 1 is faster, and draws more)",
        title_justify="left",
    )  # fmt: skip
    for system, run in runs:
        base = next(r for s, r in runs if s.name.startswith("W8A8") and r.phase == run.phase)
        points = system.points or (machine.base,)
        clocks = "/".join(f"{p.frequency_hz / 1e9:.2f}" for p in points)
        if system.name.endswith("(eco)"):  # one clock, several supplies
            clocks = f"{points[0].frequency_hz / 1e9:.2f} at " + "/".join(f"{p.voltage_v:.2f}" for p in points) + " V"
        held = limiting_resource(run)
        table.add_row(
            run.phase,
            system.name,
            clocks,
            engineering(run.time_s, "s"),
            f"{base.time_s / run.time_s:.2f}×",
            engineering(run.total.total_energy_j, "J"),
            f"{run.total.total_energy_j / base.total.total_energy_j:.2f}",
            f"{held} {run.total.time_s[held] / run.time_s:.0%}",
            str(run.total.transitions),
        )
    stdout.print(table)
    left = left_notes(loaded, passes(asked, loaded)[0])
    for note in dict.fromkeys([*left, *(note for run in found for note in run.notes)]):
        stdout.print(f"note: {note}", style="dim", highlight=False)


@asks()
def schedule(
    asked: Asked,
    policy: Annotated[
        Literal["all", "serpentine", "panel", "colblock", "islands", "none"],
        typer.Option(help="Order of the tiles; all of them side by side, or one."),
    ] = "all",
    trace: Annotated[
        Path | None, typer.Option(help="Write the fastest decode as a trace that ui.perfetto.dev opens.")
    ] = None,
    out: Files = None,
    json: Json = False,
) -> None:
    """The order of tiles and clocks: how many transitions each policy makes, and what they cost."""
    from haloquant.accel.chart_rows import PolicyRow, policy_row
    from haloquant.cli.output_files import write_orders, write_table
    from haloquant.dvfs.schedule import Policy
    from haloquant.errors import InfeasibleError
    from haloquant.jobs.machines import systems as machines
    from haloquant.report.charts.policies import policy_chart
    from haloquant.store.atomic_files import claim_output, write_bytes
    from haloquant.store.result_tables import records_to_rows, table_document, table_json
    from haloquant.store.simulation_files import trace_json

    if out:
        claim_output(out)
    machine, loaded = open_model(asked)
    wanted = list(Policy) if policy == "all" else [Policy(policy)]
    rows: list[PolicyRow] = []
    runs = []
    for workload in passes(asked, loaded):
        system = machines.halo_system(loaded, workload, machine, "boost")
        for one in wanted:
            try:
                run = machines.run_system(system, workload, machine, loaded, (one,))
            except InfeasibleError as error:
                if policy != "all" or (one == wanted[-1] and not any(run.phase == workload.phase for run in runs)):
                    raise
                rows.append(PolicyRow(workload.phase, one, 0, 0.0, 0.0, 0.0, str(error)))
                continue
            runs.append(run)
            rows.append(policy_row(run))
    left = left_notes(loaded, passes(asked, loaded)[0])
    made = table_document("schedule", loaded.name, loaded.classes.profile.name, machine, records_to_rows(rows), left)
    title = f"{loaded.name} on {machine.name}"
    if trace:
        write_bytes(trace, trace_json(min((r for r in runs if r.phase == "decode"), key=lambda run: run.time_s)))
    if out:
        write_table(out, "schedule", made, policy_chart(rows, title))
        write_orders(out, runs)
    if json:
        stdout.print(table_json(made).decode(), end="", highlight=False, markup=False, soft_wrap=True)
        return
    table = Table(
        "pass", "policy", "transitions", "time", "of it in transition", "energy", title=title, title_justify="left"
    )
    fastest = {run.phase: min(r.time_s for r in rows if r.phase == run.phase and not r.cannot) for run in runs}
    for row in (row for row in rows if not row.cannot):
        table.add_row(
            row.phase,
            row.policy + (" *" if len(wanted) > 1 and row.time_s == fastest[row.phase] else ""),
            str(row.transitions),
            engineering(row.time_s, "s", 4),
            f"{row.transition_s / row.time_s:.2%}",
            engineering(row.energy_j, "J"),
        )
    stdout.print(table)
    if len(wanted) > 1:
        stdout.print("* the fastest", style="dim", highlight=False)
    cannot = {f"{row.policy}, {row.phase}: {row.cannot}": None for row in rows if row.cannot}
    for said in (*cannot, *left):
        stdout.print(f"note: {said}", style="dim", highlight=False, markup=False)


def explore(
    recipe: Annotated[Path | None, typer.Argument(help="Recipe in TOML; the demo job without one.")] = None,
    out: Out = Path("explored"),
    profile: Annotated[list[str] | None, typer.Option("--profile", "-p", help="MACs to try; repeatable.")] = None,
    tile: Annotated[list[int] | None, typer.Option("--tile", help="Tile sizes to try; repeatable.")] = None,
    engine: Annotated[str, typer.Option(help="local, ray, or ray=ADDRESS of a running cluster.")] = "local",
    workers: Annotated[int, typer.Option(help="Processes (local) or CPUs (ray).", min=1)] = 1,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Find the Pareto front of accuracy, time and energy over MACs, tile sizes and goals."""
    from haloquant.jobs.engine.tasks import parse_engine
    from haloquant.jobs.exploration import explore as search
    from haloquant.report.charts.exploration import draw_exploration

    asked = read_recipe(recipe) if recipe else Recipe()
    with progress(quiet) as tell:
        points = search(asked, profile or ["default"], tile or [128, 64, 32], out, parse_engine(engine, workers), tell)
    draw_exploration(points, out)
    if json:
        stdout.print_json(msgspec.json.encode(points).decode())
        return
    table = Table("best", "MAC", "tile", "goal", "target", "pass", "bits", "perplexity", "time", "energy")
    for p in points:
        table.add_row(
            "*" if p.best else "", p.profile, str(p.tile), p.goal, p.target, p.phase, f"{p.bits_per_weight:.2f}",
            f"{p.perplexity:.3f}", engineering(p.time_s, "s"), engineering(p.energy_j, "J"),
        )  # fmt: skip
    stdout.print(table)
    stdout.print(f"explore.json, explore.html and explore.png are in {out}", highlight=False)


def targets(json: Json = False) -> None:
    """List the machines that come with the package."""
    from haloquant.store.targets import read_target, shipped_targets

    found = {name: read_target(name) for name in shipped_targets()}
    if json:
        stdout.print_json(msgspec.json.encode({name: target.description for name, target in found.items()}).decode())
        return
    table = Table("target", "description")
    for name, target in found.items():
        table.add_row(name, target.description)
    stdout.print(table)
