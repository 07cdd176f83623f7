"""`simulate`, `schedule`, `explore`, `targets`: time and energy of a model on a machine."""

from pathlib import Path
from typing import Annotated, Literal

import msgspec
import typer
from rich.table import Table

import haloquant
from haloquant.cli.console import stdout
from haloquant.cli.machines.options import MachineOptions, OutFolder, prepare_output, with_machine_options, write_output
from haloquant.cli.options import Json, Out, Quiet, RecipeDevice
from haloquant.units import engineering


def register(app: typer.Typer) -> None:
    """Add these commands to the app."""
    app.command(
        epilog="Examples: `haloquant simulate llama2-7b --target tpuv4i_like` · "
        "`haloquant simulate demo-halo --trace trace.json`"
    )(simulate)
    app.command(epilog="Example: `haloquant schedule demo-halo --target edge_lpddr5x --policy serpentine`")(schedule)
    app.command(
        epilog="Example: `haloquant explore --tile 128 --tile 64 --profile default --out explored --workers 2`"
    )(explore)
    app.command(epilog="Examples: `haloquant targets` · `haloquant targets --json`")(targets)


@with_machine_options()
def simulate(
    options: MachineOptions,
    mode: Annotated[
        Literal["boost", "eco"],
        typer.Option(
            help="boost: a faster clock at the same supply; eco: a lower supply at the same clock, for all systems; "
            "measured with a profile of three voltages (sky130hd-digitsdadda_ks+lone-mul-abc), else by an assumed law."
        ),
    ] = "boost",
    trace: Annotated[
        Path | None, typer.Option(help="Write HALO's decode as a trace that ui.perfetto.dev opens.")
    ] = None,
    csv: Annotated[Path | None, typer.Option(help="Write every layer's cost of every system.")] = None,
    against: Annotated[
        list[str] | None,
        typer.Option(help="A further element for new silicon: a shipped profile or a file; repeatable."),
    ] = None,
    area_mm2: Annotated[
        float | None,
        typer.Option(
            "--area-mm2",
            help="Area of all arrays in new silicon; by default the target's, of plain 8-bit elements.",
        ),
    ] = None,
    every_element: Annotated[
        bool, typer.Option("--every-element", help="In new silicon show every element, not only each system's best.")
    ] = False,
    clock: Annotated[
        Literal["machine", "own"],
        typer.Option(
            help="machine: the given MAC's slowest value (in new silicon the plain element's) takes one period of the "
            "machine's base clock; own: a profile's own delays set the clocks, and that clock is the limit."
        ),
    ] = "machine",
    delay_factor: Annotated[
        float, typer.Option("--delay-factor", help="With --clock own: period over the delay of the gates, for wires.")
    ] = 1.0,
    density: Annotated[
        float | None,
        typer.Option(
            help="Share of its inputs that a generated token multiplies, in all integer systems; by default what a "
            "packed model with sparse inputs stores, else all.",
            min=0.01,
            max=1.0,
        ),
    ] = None,
    activation_bits: Annotated[
        int | None,
        typer.Option(
            "--activation-bits",
            help="Bits of the rounded inputs of layers, in all integer systems: bytes that move; by default the MAC's.",
            min=2,
            max=16,
        ),
    ] = None,
    low_share: Annotated[
        float, typer.Option("--low-share", help="Share of the tokens whose inputs have --low-bits.", min=0.0, max=1.0)
    ] = 0.0,
    low_bits: Annotated[int, typer.Option("--low-bits", help="Bits of the inputs of these tokens.", min=2, max=16)] = 4,
    out: OutFolder = None,
    json: Json = False,
) -> None:
    """Simulate a model on a machine: time and energy with HALO and with FP16, W8A8, W4A8 and W3A8.

    Two premises side by side: given silicon (one MAC for all; only weights and clocks may change), and new silicon
    (equal area; every system on the element that suits it best).
    """
    from haloquant.accel.chart_rows import limiting_resource
    from haloquant.api.machines.result_tables import new_silicon_table as rows_of_new_silicon
    from haloquant.cli.machines.new_silicon import clocks_text, new_silicon_table
    from haloquant.store.atomic_files import write_bytes, write_text
    from haloquant.store.simulation_files import layers_csv, simulation_document, trace_json

    prepare_output(out)
    found = haloquant.simulate(
        options.model, options.target, mode=mode, against=against or (), area_mm2=area_mm2,
        every_element=every_element, clock=clock, delay_factor=delay_factor, density=density,
        activation_bits=activation_bits, low_share=low_share, low_bits=low_bits, **options.keywords(),
    )  # fmt: skip
    new = found.new_silicon
    machine, simulations = found.machine, found.simulations
    if trace:
        write_bytes(trace, trace_json(simulations[-1]))
    if csv:
        write_text(csv, layers_csv(simulations))
    write_output(found, out)
    if json:
        documents: list[object] = [simulation_document(run, machine) for run in simulations]
        if new:
            documents.append(rows_of_new_silicon(found.model, machine, new))
        stdout.print(msgspec.json.encode(documents).decode(), highlight=False, markup=False, soft_wrap=True)
        return
    table = Table(
        "pass", "system", "clock, GHz", "time", "speed", "energy", "energy ratio", "bound, share", "transitions",
        title=f"Given silicon: {found.model} on {machine.name}, one MAC for all (speed and energy ratio: W8A8 = 1; "
        "above 1 is faster, and draws more)",
        title_justify="left",
    )  # fmt: skip
    for system in found.runs:
        run, points = system.simulation, system.points
        base = found.simulation(run.phase, "W8A8")
        clocks = clocks_text(points, machine.base.voltage_v)
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
    if new:
        title = f"New silicon: arrays of {new.area_m2 * 1e6:.3g} mm2, each system on its best element (W8A8 = 1)"
        stdout.print(new_silicon_table(new, title, every_element, machine.base.voltage_v))
    for note in found.notes:
        stdout.print(f"note: {note}", style="dim", highlight=False)


@with_machine_options()
def schedule(
    options: MachineOptions,
    policy: Annotated[
        Literal["all", "serpentine", "panel", "colblock", "islands", "none"],
        typer.Option(help="One order of the tiles, or all of them."),
    ] = "all",
    trace: Annotated[
        Path | None, typer.Option(help="Write the fastest decode as a trace that ui.perfetto.dev opens.")
    ] = None,
    out: OutFolder = None,
    json: Json = False,
) -> None:
    """Compare orders of the tiles: the number of clock transitions of each, and their cost."""
    from haloquant.api.machines.result_tables import result_table
    from haloquant.api.machines.tile_orders import schedule as compare_orders
    from haloquant.store.atomic_files import write_bytes
    from haloquant.store.result_tables import table_json
    from haloquant.store.simulation_files import trace_json

    prepare_output(out)
    found = compare_orders(options.model, options.target, policy=policy, **options.keywords())
    rows, runs = found.rows, found.simulations
    title = f"{found.model} on {found.machine.name}"
    if trace:
        write_bytes(trace, trace_json(min((r for r in runs if r.phase == "decode"), key=lambda run: run.time_s)))
    write_output(found, out)
    if json:
        stdout.print(table_json(result_table(found)).decode(), end="", highlight=False, markup=False, soft_wrap=True)
        return
    table = Table(
        "pass", "policy", "transitions", "time", "of it in transition", "energy", title=title, title_justify="left"
    )
    fastest = {run.phase: min(r.time_s for r in rows if r.phase == run.phase and not r.cannot) for run in runs}
    for row in (row for row in rows if not row.cannot):
        table.add_row(
            row.phase,
            row.policy + (" *" if policy == "all" and row.time_s == fastest[row.phase] else ""),
            str(row.transitions),
            engineering(row.time_s, "s", 4),
            f"{row.transition_s / row.time_s:.2%}",
            engineering(row.energy_j, "J"),
        )
    stdout.print(table)
    if policy == "all":
        stdout.print("* the fastest", style="dim", highlight=False)
    cannot = {f"{row.policy}, {row.phase}: {row.cannot}": None for row in rows if row.cannot}
    for note in (*cannot, *found.notes):
        stdout.print(f"note: {note}", style="dim", highlight=False, markup=False)


def explore(
    recipe: Annotated[Path | None, typer.Argument(help="Recipe in TOML; the demo job without one.")] = None,
    out: Out = Path("explored"),
    profile: Annotated[
        list[str] | None, typer.Option("--profile", "-p", help="MACs to try; repeatable. Without it, the recipe's.")
    ] = None,
    tile: Annotated[
        list[int] | None,
        typer.Option("--tile", help="Tile sizes to try; repeatable. Without it, the recipe's, or 128, 64 and 32."),
    ] = None,
    device: RecipeDevice = None,
    engine: Annotated[str, typer.Option(help="local, ray, or ray=ADDRESS of a running cluster.")] = "local",
    workers: Annotated[int, typer.Option(help="Processes (local) or CPUs (ray).", min=1)] = 1,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Find the Pareto front of perplexity, time and energy over MACs, tile sizes and goals.

    Each point is a model that was quantized, evaluated and simulated on its MAC. Beside it stands what it costs in new
    silicon: at the area of the machine's arrays, on the element that suits it best, and W4A8 on its own best.
    """
    points = haloquant.explore(
        recipe,
        out,
        profiles=profile,
        tiles=tile,
        device=device,
        engine=engine,
        workers=workers,
        progress=not quiet,
    )
    if json:
        stdout.print_json(msgspec.json.encode(points).decode())
        return
    table = Table(
        "best", "knee", "MAC", "tile", "goal", "target", "pass", "bits", "perplexity", "time", "energy",
        "new silicon: time", "energy", "W4A8's",
    )  # fmt: skip
    for p in points:
        table.add_row(
            "*" if p.best else "", "*" if p.knee else "",
            p.profile, str(p.tile), p.goal, p.target, p.phase, f"{p.bits_per_weight:.2f}",
            f"{p.perplexity:.3f}", engineering(p.time_s, "s"), engineering(p.energy_j, "J"),
            *((engineering(n.time_s, "s"), engineering(n.energy_j, "J"),
               "–" if n.w4a8_time_s is None or n.w4a8_energy_j is None
               else f"{engineering(n.w4a8_time_s, 's')}, {engineering(n.w4a8_energy_j, 'J')}")
              if (n := p.new_silicon) else ("–", "–", "–")),
        )  # fmt: skip
    stdout.print(table)
    for note in dict.fromkeys(f"{p.target}, tile {p.tile}: {text}" for p in points for text in p.left_out):
        stdout.print(note, style="dim", highlight=False, markup=False)
    stdout.print(f"explore.json, explore.html and explore.png are in {out}", highlight=False)


def targets(json: Json = False) -> None:
    """List the machines that come with the package."""
    from haloquant.api.machines.simulation import list_targets

    found = list_targets()
    if json:
        stdout.print_json(msgspec.json.encode({name: target.description for name, target in found.items()}).decode())
        return
    table = Table("target", "description")
    for name, target in found.items():
        table.add_row(name, target.description)
    stdout.print(table)
