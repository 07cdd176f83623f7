"""`claims`, `sweep`, `deadline`, `gpu`, `elements`: the questions that a single simulation leaves open."""

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.table import Table

from haloquant.cli.console import stdout
from haloquant.cli.machine_options import Asked, Files, asks, left_notes, open_model, passes
from haloquant.cli.options import Json
from haloquant.units import engineering

if TYPE_CHECKING:
    from haloquant.store.result_tables import TableDocument


def register(app: typer.Typer) -> None:
    """Add this room's commands."""
    app.command(epilog="`haloquant claims llama2-7b --target tpuv4i_like --out claims`")(claims)
    app.command(epilog="`haloquant sweep llama2-7b --target tpuv4i_like --over transition`")(sweep)
    app.command(epilog="`haloquant deadline llama2-7b --target edge_lpddr5x --ms 100`")(deadline)
    app.command(epilog="`haloquant gpu llama2-7b --target gpu_2080ti`")(gpu)
    app.command(epilog="`haloquant elements opt-1.3b --target tpuv4i_like`")(elements)


@asks(target="tpuv4i_like", fast=0.81)
def claims(asked: Asked, out: Files = None, json: Json = False) -> None:
    """HALO against every rival under the paper's premises, beside the same on a described machine."""
    from haloquant.accel.chart_rows import comparison_row
    from haloquant.cli.output_files import write_table
    from haloquant.jobs.machines.sweeps import claims as compare
    from haloquant.report.charts import machines
    from haloquant.store.atomic_files import claim_output
    from haloquant.store.result_tables import records_to_rows, table_document
    from haloquant.store.targets import read_systolic

    if out:
        claim_output(out)
    machine, loaded = open_model(asked)
    found = compare(loaded, read_systolic("paper_tpu"), machine, asked.prefill, asked.context, asked.batch)
    left = left_notes(loaded, passes(asked, loaded)[0])
    note = "paper: its clocks as it states them, no memory system, free transitions, no attention; not a measurement"
    rows = [row for c in found for row in (comparison_row("paper", c.paper), comparison_row(machine.name, c.honest))]
    made = table_document(
        "claims", loaded.name, loaded.classes.profile.name, machine, records_to_rows(rows), [note, *left]
    )
    title = f"{loaded.fast_share:.0%} fast tiles"
    if out:
        write_table(out, "claims", made, machines.claims_chart(rows, title))
    if json:
        return _print(made)
    table = Table(
        "pass", "HALO against", "paper: speed", "paper: energy", f"{machine.name}: speed", f"{machine.name}: energy",
        "the rival's clock there", title=f"{title} (above 1×: HALO is better)", title_justify="left",
    )  # fmt: skip
    for claim in found:
        a, b = claim.paper, claim.honest
        table.add_row(
            b.phase, b.rival, f"{a.speedup:.2f}×", f"{a.energy_ratio:.2f}×", f"{b.speedup:.2f}×",
            f"{b.energy_ratio:.2f}×", b.why,
        )  # fmt: skip
    stdout.print(table)
    for said in (note, *left):
        stdout.print(said, style="dim", highlight=False)


@asks(target="tpuv4i_like")
def sweep(
    asked: Asked,
    over: Annotated[
        Literal["transition", "static", "bandwidth", "bandwidth-clock"],
        typer.Option(help="What to vary, all else equal; bandwidth-clock is a map of both."),
    ] = "transition",
    out: Files = None,
    json: Json = False,
) -> None:
    """HALO, W8A8 and W4A8 over transition times, static powers per array, bandwidths, or bandwidths and clocks."""
    from haloquant.accel.chart_rows import sweep_marks
    from haloquant.cli.output_files import write_table
    from haloquant.jobs.machines.sweeps import bandwidth_clock_map
    from haloquant.jobs.machines.sweeps import sweep as vary
    from haloquant.report.charts import machines
    from haloquant.store.atomic_files import claim_output
    from haloquant.store.result_tables import records_to_rows, table_document

    if out:
        claim_output(out)
    machine, loaded = open_model(asked)
    title = f"{loaded.name} on {machine.name}"
    table = Table(title=title, title_justify="left")
    if over == "bandwidth-clock":
        cells = [cell for w in passes(asked, loaded) for cell in bandwidth_clock_map(loaded, w, machine)]
        rows, chart = records_to_rows(cells), machines.bandwidth_clock_map(cells, title)
        for name in ("pass", "bandwidth", "base clock", "time", "bound", f"speed over {cells[0].rival}", ""):
            table.add_column(name)
        for cell in cells:
            table.add_row(
                cell.phase, engineering(cell.bandwidth_b_per_s, "B/s"), engineering(cell.base_frequency_hz, "Hz"),
                engineering(cell.time_s, "s"), cell.bound, f"{cell.speedup:.2f}×", "the machine" if cell.own else "",
            )  # fmt: skip
    else:
        found = [item for workload in passes(asked, loaded) for item in vary(loaded, workload, machine, over)]
        marks = sorted(sweep_marks([item.point for item in found]), key=lambda m: (m.phase != "prefill", m.value))
        rows, chart = records_to_rows(marks), machines.sweep_chart(marks, title)
        for name in ("pass", over, "system", "time", "energy", "transitions"):
            table.add_column(name)
        for mark in marks:
            table.add_row(
                mark.phase, engineering(mark.value, mark.unit), mark.system, engineering(mark.time_s, "s", 4),
                engineering(mark.energy_j, "J"), str(mark.transitions),
            )  # fmt: skip
    left = left_notes(loaded, passes(asked, loaded)[0])
    made = table_document("sweep", loaded.name, loaded.classes.profile.name, machine, rows, left)
    if out:
        write_table(out, f"sweep-{over}", made, chart)
    if json:
        return _print(made)
    stdout.print(table)


@asks(without=("prefill",))
def deadline(
    asked: Asked,
    ms: Annotated[float, typer.Option(help="Time for one decode step, in milliseconds.")] = 100.0,
    idle: Annotated[float, typer.Option(help="Power after the step until the deadline, in watts.")] = 0.2,
    out: Files = None,
    json: Json = False,
) -> None:
    """The least energy that meets a deadline, beside racing and then idling."""
    from haloquant.accel.chart_rows import DeadlineRow
    from haloquant.accel.workload.passes import decode
    from haloquant.cli.output_files import write_table
    from haloquant.jobs.machines.sweeps import deadline as meet
    from haloquant.report.charts import machines
    from haloquant.store.atomic_files import claim_output
    from haloquant.store.result_tables import records_to_rows, table_document

    if out:
        claim_output(out)
    machine, loaded = open_model(asked)
    found = meet(loaded, decode(loaded.shape, asked.context, asked.batch), machine, ms / 1e3, idle)
    names = ((found.race.simulation, found.race.mode), (found.paced.simulation, found.paced.mode))
    rows = [
        DeadlineRow(
            factor, run.time_s, run.total.total_energy_j + (wait := idle * max(0.0, ms / 1e3 - run.time_s)), wait,
            run.time_s <= ms / 1e3, ", ".join(mode for chosen, mode in names if chosen is run),
        )
        for factor, run in found.candidates
    ]  # fmt: skip
    law = f"delay at a lower supply, {found.law}"
    made = table_document("deadline", loaded.name, loaded.classes.profile.name, machine, records_to_rows(rows), [law])
    title = f"{loaded.name} on {machine.name}, {ms:g} ms"
    if out:
        write_table(out, "deadline", made, machines.deadline_chart(rows, ms / 1e3, title))
    if json:
        return _print(made)
    table = Table("mode", "supply", "busy", "energy", "of it idle", title=title, title_justify="left")
    for timed, factor in ((found.race, 1.0), (found.paced, found.supply_factor)):
        table.add_row(
            timed.mode, f"{factor:.0%} ({factor * machine.base.voltage_v:.3g} V)",
            engineering(timed.simulation.time_s, "s", 4), engineering(timed.energy_j, "J"),
            engineering(timed.idle_j, "J"),
        )  # fmt: skip
    stdout.print(table)
    stdout.print(law, style="dim", highlight=False)


@asks(target="gpu_2080ti")
def gpu(asked: Asked, out: Files = None, json: Json = False) -> None:
    """A graphics processor's roofline, and what the paper's clocks would ask of it.

    It measures nothing: `python bench/gpu/power.py` in the source tree does, on a real NVIDIA board.
    """
    from haloquant.accel.chart_rows import gpu_row
    from haloquant.cli.output_files import write_table
    from haloquant.jobs.machines.sweeps import on_gpu
    from haloquant.store.atomic_files import claim_output
    from haloquant.store.result_tables import records_to_rows, table_document
    from haloquant.store.targets import read_gpu

    if out:
        claim_output(out)
    board = read_gpu(asked.target)
    _, loaded = open_model(replace(asked, target="paper_tpu"))
    rows = [gpu_row(item) for workload in passes(asked, loaded) for item in on_gpu(loaded, workload, board)]
    blocks = [f"{block.name}: {block.why}" for block in board.blocks if not block.follows]
    left = left_notes(loaded, passes(asked, loaded)[0])
    made = table_document(
        "gpu", loaded.name, loaded.classes.profile.name, board, records_to_rows(rows), [*blocks, *left]
    )
    if out:
        write_table(out, "gpu", made)
    if json:
        return _print(made)
    table = Table(
        "pass", "format", "clock", "time", "speed", "energy/token", "bound", "switching per group would take",
        title=f"{loaded.name} on {board.name}: a roofline, not a measurement (speed: same format, first clock = 1)",
        title_justify="left",
    )  # fmt: skip
    for row in rows:
        table.add_row(
            row.phase, row.format, engineering(row.frequency_hz, "Hz"), engineering(row.time_s, "s"),
            f"{row.speedup:.2f}×", engineering(row.energy_per_token_j, "J"), row.bound,
            engineering(row.switching_s, "s") if row.switching_s else "–",
        )  # fmt: skip
    stdout.print(table)
    if len(board.points) > 1:
        stdout.print("Above the first clock these would have to follow, and weight values do not shorten them:")
        for block in blocks:
            stdout.print(f"  {block}", style="dim", highlight=False)
    for said in left:
        stdout.print(said, style="dim", highlight=False)


@asks(target="tpuv4i_like")
def elements(asked: Asked, out: Files = None, json: Json = False) -> None:
    """Other multipliers on the same machine (MixPE, QuartDepth's W4A4, bit-serial), with BOPs and EBOPs per token."""
    from haloquant.cli.output_files import write_table
    from haloquant.jobs.machines.elements import compare_elements
    from haloquant.store.atomic_files import claim_output
    from haloquant.store.result_tables import records_to_rows, table_document

    if out:
        claim_output(out)
    machine, loaded = open_model(asked)
    rows = [row for workload in passes(asked, loaded) for row in compare_elements(loaded, workload, machine)]
    note = "counted in full adders (40 nm figures), not characterised: ratios between structures, not silicon"
    left = left_notes(loaded, passes(asked, loaded)[0])
    made = table_document("elements", loaded.name, "full-adder count", machine, records_to_rows(rows), [note, *left])
    if out:
        write_table(out, "elements", made)
    if json:
        return _print(made)
    table = Table(
        "pass", "element", "clock", "cycles/MAC", "energy/MAC", "time", "energy", "bound", "BOPs/token", "EBOPs/token",
        title=f"{loaded.name} on {machine.name}", title_justify="left",
    )  # fmt: skip
    for row in rows:
        table.add_row(
            row.phase, row.element, engineering(row.frequency_hz, "Hz"), str(row.cycles_per_mac),
            engineering(row.mac_j, "J"), engineering(row.time_s, "s"), engineering(row.energy_j, "J"), row.bound,
            engineering(row.bops, ""), engineering(row.ebops, ""),
        )  # fmt: skip
    stdout.print(table)
    for said in (note, *left):
        stdout.print(said, style="dim", highlight=False)
    for row in rows[: len(rows) // 2]:
        stdout.print(f"  {row.element}: {row.after}", style="dim", highlight=False)


def _print(made: "TableDocument") -> None:
    """The document on stdout, for machines."""
    from haloquant.store.result_tables import table_json

    stdout.print(table_json(made).decode(), end="", highlight=False, markup=False, soft_wrap=True)
