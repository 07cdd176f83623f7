"""`claims`, `sweep`, `deadline`, `gpu`, `elements`: studies of one model on one machine."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, cast

import msgspec
import typer
from rich.table import Table

from haloquant.cli.console import stdout
from haloquant.cli.machines.options import MachineOptions, OutFolder, prepare_output, with_machine_options, write_output
from haloquant.cli.options import Json
from haloquant.units import engineering

if TYPE_CHECKING:
    from haloquant.api.machines.studies import Study


def register(app: typer.Typer) -> None:
    """Add these commands to the app."""
    app.command(epilog="Example: `haloquant claims llama2-7b --target tpuv4i_like --out claims`")(claims)
    app.command(epilog="Example: `haloquant sweep llama2-7b --target tpuv4i_like --over transition`")(sweep)
    app.command(epilog="Example: `haloquant deadline llama2-7b --target edge_lpddr5x --ms 100`")(deadline)
    app.command(
        epilog="Examples: `haloquant gpu llama2-7b --target gpu_2080ti` · `haloquant gpu llama3.2-1b --target rpi5`"
    )(gpu)
    app.command(epilog="Example: `haloquant elements opt-1.3b --target tpuv4i_like`")(elements)


@with_machine_options(target="tpuv4i_like", fast=0.81)
def claims(options: MachineOptions, out: OutFolder = None, json: Json = False) -> None:
    """Compare HALO with every rival under the paper's premises, on a described machine, and there in new silicon.

    In new silicon every system has the same area and its best element.
    """
    from haloquant.api.machines.studies import check_claims

    prepare_output(out)
    study = check_claims(options.model, options.target, **options.keywords())
    name = study.machine.name
    title = f"{study.fast_share:.0%} fast tiles"
    write_output(study, out)
    if json:
        return _print(study)
    table = Table(
        "pass", "HALO against", "paper: speed", "paper: energy", f"{name}: speed", f"{name}: energy",
        "the rival's clock there", "new silicon: speed", "energy",
        title=f"{title} (above 1×: HALO is better)", title_justify="left",
    )  # fmt: skip
    for claim in study.rows:
        a, b = claim.paper, claim.described
        table.add_row(
            b.phase, b.rival, f"{a.speedup:.2f}×", f"{a.energy_ratio:.2f}×", f"{b.speedup:.2f}×",
            f"{b.energy_ratio:.2f}×", b.why,
            *((f"{new.speedup:.2f}×", f"{new.energy_ratio:.2f}×") if (new := claim.new_silicon) else ("–", "–")),
        )  # fmt: skip
    stdout.print(table)
    said = {c.described.phase: c.new_silicon.why for c in study.rows if c.new_silicon}
    for phase, why in said.items():
        stdout.print(f"new silicon, {phase}: HALO on {why.partition('HALO: ')[2]}", style="dim", highlight=False)
    for note in study.notes:
        stdout.print(note, style="dim", highlight=False)


@with_machine_options(target="tpuv4i_like")
def sweep(
    options: MachineOptions,
    over: Annotated[
        Literal["transition", "static", "bandwidth", "bandwidth-clock"],
        typer.Option(help="The parameter to vary, all else equal; bandwidth-clock is a map of both."),
    ] = "transition",
    out: OutFolder = None,
    json: Json = False,
) -> None:
    """Simulate HALO, W8A8 and W4A8 over transition times, static powers, bandwidths, or bandwidths and clocks.

    On the given MAC and in new silicon, where each has the same area and its best element; the map is of the given MAC.
    """
    from haloquant.accel.chart_rows import BandwidthClockCell, Mark
    from haloquant.api.machines.studies import sweep as vary

    prepare_output(out)
    study = vary(options.model, options.target, over=over, **options.keywords())
    title = f"{study.model} on {study.machine.name}"
    table = Table(title=title, title_justify="left")
    cells = [row for row in study.rows if isinstance(row, BandwidthClockCell)]
    marks = [row for row in study.rows if isinstance(row, Mark)]
    if over == "bandwidth-clock":
        for name in ("pass", "bandwidth", "base clock", "time", "bound", f"speed over {cells[0].rival}", ""):
            table.add_column(name)
        for cell in cells:
            table.add_row(
                cell.phase, engineering(cell.bandwidth_b_per_s, "B/s"), engineering(cell.base_frequency_hz, "Hz"),
                engineering(cell.time_s, "s"), cell.bound, f"{cell.speedup:.2f}×", "the machine" if cell.own else "",
            )  # fmt: skip
    else:
        for name in ("pass", over, "system", "time", "energy", "transitions"):
            table.add_column(name)
        for mark in marks:
            table.add_row(
                mark.phase, engineering(mark.value, mark.unit), mark.system, engineering(mark.time_s, "s", 4),
                engineering(mark.energy_j, "J"), str(mark.transitions),
            )  # fmt: skip
    write_output(study, out)
    if json:
        return _print(study)
    stdout.print(table)
    for note in study.notes:
        stdout.print(note, style="dim", highlight=False)


@with_machine_options(without=("prefill",))
def deadline(
    options: MachineOptions,
    ms: Annotated[float, typer.Option(help="Time for one decode step, in milliseconds.")] = 100.0,
    idle: Annotated[float, typer.Option(help="Power after the step until the deadline, in watts.")] = 0.2,
    out: OutFolder = None,
    json: Json = False,
) -> None:
    """Find the least energy at which a decode step meets a deadline, and compare it with racing and then idling."""
    from haloquant.accel.target import Target
    from haloquant.api.machines.studies import meet_deadline

    prepare_output(out)
    keywords = {name: value for name, value in options.keywords().items() if name != "prefill_tokens"}
    study = meet_deadline(options.model, options.target, period_s=ms / 1e3, idle_w=idle, **keywords)
    (found,), machine = study.rows, cast(Target, study.machine)
    title = f"{study.model} on {machine.name}, {ms:g} ms"
    write_output(study, out)
    if json:
        return _print(study)
    table = Table("mode", "supply", "busy", "energy", "of it idle", title=title, title_justify="left")
    for timed, factor in ((found.race_to_idle, 1.0), (found.least_energy, found.supply_factor)):
        table.add_row(
            timed.mode, f"{factor:.0%} ({factor * machine.base.voltage_v:.3g} V)",
            engineering(timed.simulation.time_s, "s", 4), engineering(timed.energy_j, "J"),
            engineering(timed.idle_j, "J"),
        )  # fmt: skip
    stdout.print(table)
    stdout.print(study.notes[0], style="dim", highlight=False)


@with_machine_options(target="gpu_2080ti")
def gpu(options: MachineOptions, out: OutFolder = None, json: Json = False) -> None:
    """Estimate a model on a GPU or CPU by its roofline, and list the requirements of the paper's clocks.

    Nothing is measured. In the source tree, `python bench/gpu/power.py` measures a real NVIDIA board.
    """
    from haloquant.accel.target import GpuTarget
    from haloquant.api.machines.studies import estimate_gpu

    prepare_output(out)
    study = estimate_gpu(options.model, options.target, **options.keywords())
    rows, board = study.rows, cast(GpuTarget, study.machine)
    write_output(study, out)
    if json:
        return _print(study)
    table = Table(
        "pass", "format", "clock", "time", "speed", "energy/token", "bound", "switching per group would take",
        title=f"{study.model} on {board.name}: a roofline, not a measurement (speed: same format, first clock = 1)",
        title_justify="left",
    )  # fmt: skip
    for row in rows:
        table.add_row(
            row.phase, row.format, engineering(row.frequency_hz, "Hz"), engineering(row.time_s, "s"),
            f"{row.speedup:.2f}×", engineering(row.energy_per_token_j, "J"), row.bound,
            engineering(row.switching_s, "s") if row.switching_s else "–",
        )  # fmt: skip
    stdout.print(table)
    following = sum(not block.follows for block in board.blocks)  # the notes begin with one on each of these
    if len(board.points) > 1:
        stdout.print("Above the first clock these would have to follow, and weight values do not shorten them:")
        for block in study.notes[:following]:
            stdout.print(f"  {block}", style="dim", highlight=False)
    for note in study.notes[following:]:
        stdout.print(note, style="dim", highlight=False)


@with_machine_options(target="tpuv4i_like")
def elements(
    options: MachineOptions,
    ebops: Annotated[
        bool, typer.Option("--ebops", help="Instead: EBOPs of the words beside LUTs and DSPs that Yosys maps them to.")
    ] = False,
    relu_text: Annotated[
        str | None,
        typer.Option(help="Text, or `demo`: count sums that stop early before ReLUs, for a row of bit-serial units."),
    ] = None,
    out: OutFolder = None,
    json: Json = False,
) -> None:
    """Compare other multipliers on the same machine (MixPE, QuartDepth's W4A4, bit-serial) and their BOPs."""
    if ebops:
        _constant_multipliers(options, out, json)
        return
    from haloquant.api.machines.studies import compare_multipliers

    prepare_output(out)
    study = compare_multipliers(options.model, options.target, relu_text=relu_text, **options.keywords())
    rows = study.rows
    write_output(study, out)
    if json:
        return _print(study)
    table = Table(
        "pass", "element", "clock", "cycles/MAC", "energy/MAC", "time", "energy", "bound", "BOPs/token", "EBOPs/token",
        title=f"{study.model} on {study.machine.name}", title_justify="left",
    )  # fmt: skip
    for row in rows:
        table.add_row(
            row.phase, row.element, engineering(row.frequency_hz, "Hz"), f"{row.cycles_per_mac:.3g}",
            engineering(row.mac_j, "J"), engineering(row.time_s, "s"), engineering(row.energy_j, "J"), row.bound,
            engineering(row.bops, ""), engineering(row.ebops, ""),
        )  # fmt: skip
    stdout.print(table)
    for note in study.notes:
        stdout.print(note, style="dim", highlight=False)
    for row in rows[: len(rows) // 2]:
        stdout.print(f"  {row.element}: {row.after}", style="dim", highlight=False)


def _constant_multipliers(options: MachineOptions, out: Path | None, json: bool) -> None:
    """Print blocks of constant multipliers on an FPGA."""
    from haloquant.api.machines.fpga_cost import map_to_fpga
    from haloquant.store.atomic_files import write_bytes

    prepare_output(out)
    rows = map_to_fpga(options.model, profile=options.profile, progress=not options.quiet)
    note = "Xilinx 7 series by Yosys, before placement; 8-bit inputs; HGQ: EBOPs of a network ~ LUT + 55 DSP"
    document = msgspec.json.format(msgspec.json.encode({"rows": rows, "note": note}), indent=1)
    if out is not None:
        write_bytes(out / "ebops.json", document)
    if json:
        stdout.print(document.decode(), highlight=False, markup=False, soft_wrap=True)
        return
    table = Table("words", "weights", "not 0", "EBOPs", "LUT", "LUT / EBOPs", "LUT + DSP", "(LUT + 55 DSP) / EBOPs")
    for row in rows:
        table.add_row(
            row.words, str(row.weights), str(row.nonzero), str(row.ebops), str(row.luts), f"{row.ratio:.2f}",
            f"{row.luts_beside_dsps} + {row.dsps}", f"{row.ratio_with_dsps:.2f}",
        )  # fmt: skip
    stdout.print(table)
    stdout.print(note, style="dim", highlight=False)


def _print(study: "Study[Any]") -> None:
    """Print the rows of a study as JSON on stdout."""
    from haloquant.api.machines.result_tables import result_table
    from haloquant.store.result_tables import table_json

    stdout.print(table_json(result_table(study)).decode(), end="", highlight=False, markup=False, soft_wrap=True)
