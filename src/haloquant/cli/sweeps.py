"""`claims`, `sweep`, `deadline`, `gpu`: the questions that a single simulation leaves open."""

from typing import Annotated, Literal

import msgspec
import typer
from rich.table import Table

from haloquant.cli.console import stdout
from haloquant.cli.machines import Batch, Context, Fast, Prefill, Target, What, open_model, passes
from haloquant.cli.options import Json, Profile
from haloquant.units import engineering


def register(app: typer.Typer) -> None:
    """Add this room's commands."""
    app.command(epilog="`haloquant claims llama2-7b --target tpuv4i_like`")(claims)
    app.command(epilog="`haloquant sweep llama2-7b --target tpuv4i_like --over transition`")(sweep)
    app.command(epilog="`haloquant deadline llama2-7b --target edge_lpddr5x --ms 100`")(deadline)
    app.command(epilog="`haloquant gpu llama2-7b --target gpu_2080ti`")(gpu)


def claims(
    what: What,
    target: Target = "tpuv4i_like",
    profile: Profile = "default",
    prefill: Prefill = 2048,
    context: Context = 2048,
    batch: Batch = 1,
    fast: Fast = 0.81,
    json: Json = False,
) -> None:
    """HALO against every rival under the paper's premises, beside the same on a described machine."""
    from haloquant.pipeline.sweeps import claims as compare
    from haloquant.store.targets import read_systolic

    machine, loaded = open_model(what, target, profile, fast)
    found = compare(loaded, read_systolic("paper_tpu"), machine, prefill, context, batch)
    if json:
        stdout.print_json(msgspec.json.encode(found).decode())
        return
    table = Table(
        "pass", "HALO against", "paper: speed", "paper: energy", f"{machine.name}: speed", f"{machine.name}: energy",
        "the rival's clock there", title=f"{loaded.name}, {fast:.0%} fast tiles (above 1: HALO is better)",
        title_justify="left",
    )  # fmt: skip
    for claim in found:
        a, b = claim.paper, claim.honest
        table.add_row(
            b.phase, b.rival, f"{a.speedup:.2f}×", f"{a.energy_ratio:.2f}×", f"{b.speedup:.2f}×",
            f"{b.energy_ratio:.2f}×", b.why,
        )  # fmt: skip
    stdout.print(table)
    stdout.print(
        "paper: its clocks as it states them, no memory system, free transitions, no attention; not a measurement",
        style="dim", highlight=False,
    )  # fmt: skip


def sweep(
    what: What,
    target: Target = "tpuv4i_like",
    profile: Profile = "default",
    over: Annotated[
        Literal["transition", "static", "bandwidth"], typer.Option(help="What to vary, all else equal.")
    ] = "transition",
    prefill: Prefill = 2048,
    context: Context = 2048,
    batch: Batch = 1,
    fast: Fast = 0.8,
    json: Json = False,
) -> None:
    """HALO, W8A8 and W4A8 over transition times, static powers per array, or bandwidths."""
    from haloquant.accel.plots import swept
    from haloquant.pipeline.sweeps import sweep as vary

    machine, loaded = open_model(what, target, profile, fast)
    found = [
        item for workload in passes(loaded, prefill, context, batch) for item in vary(loaded, workload, machine, over)
    ]
    marks = swept([item.point for item in found])
    if json:
        stdout.print_json(msgspec.json.encode(marks).decode())
        return
    table = Table(
        "pass", over, "system", "time", "energy", "transitions", title=f"{loaded.name} on {machine.name}",
        title_justify="left",
    )  # fmt: skip
    for mark in sorted(marks, key=lambda m: (m.phase != "prefill", m.value)):
        table.add_row(
            mark.phase, engineering(mark.value, mark.unit), mark.system, engineering(mark.time_s, "s", 4),
            engineering(mark.energy_j, "J"), str(mark.transitions),
        )  # fmt: skip
    stdout.print(table)


def deadline(
    what: What,
    target: Target = "edge_lpddr5x",
    profile: Profile = "default",
    ms: Annotated[float, typer.Option(help="Time for one decode step, in milliseconds.")] = 100.0,
    idle: Annotated[float, typer.Option(help="Power after the step until the deadline, in watts.")] = 0.2,
    context: Context = 2048,
    batch: Batch = 1,
    fast: Fast = 0.8,
    json: Json = False,
) -> None:
    """The least energy that meets a deadline, beside racing and then idling."""
    from haloquant.accel.workload import decode
    from haloquant.pipeline.sweeps import deadline as meet

    machine, loaded = open_model(what, target, profile, fast)
    found = meet(loaded, decode(loaded.shape, context, batch), machine, ms / 1e3, idle)
    rows = [
        {"mode": t.mode, "supply": f, "time_s": t.simulation.time_s, "energy_j": t.energy_j, "idle_j": t.idle_j}
        for t, f in ((found.race, 1.0), (found.paced, found.supply_factor))
    ]
    if json:
        stdout.print_json(msgspec.json.encode({"law": found.law, "modes": rows}).decode())
        return
    table = Table(
        "mode", "supply", "busy", "energy", "of it idle", title=f"{loaded.name} on {machine.name}, {ms:g} ms",
        title_justify="left",
    )  # fmt: skip
    for row in rows:
        table.add_row(
            str(row["mode"]), f"{float(row['supply']):.0%}", engineering(float(row["time_s"]), "s", 4),
            engineering(float(row["energy_j"]), "J"), engineering(float(row["idle_j"]), "J"),
        )  # fmt: skip
    stdout.print(table)
    stdout.print(f"delay at a lower supply, {found.law}", style="dim", highlight=False)


def gpu(
    what: What,
    target: Target = "gpu_2080ti",
    profile: Profile = "default",
    prefill: Prefill = 2048,
    context: Context = 2048,
    batch: Batch = 1,
    fast: Fast = 0.8,
    json: Json = False,
) -> None:
    """A graphics processor's roofline, and what the paper's clocks would ask of it."""
    from haloquant.pipeline.sweeps import on_gpu
    from haloquant.store.targets import read_gpu

    board = read_gpu(target)
    _, loaded = open_model(what, "paper_tpu", profile, fast)
    found = [item for workload in passes(loaded, prefill, context, batch) for item in on_gpu(loaded, workload, board)]
    if json:
        stdout.print_json(msgspec.json.encode(found).decode())
        return
    table = Table(
        "pass", "format", "clock", "time", "speed", "energy/token", "bound", "switching per group would take",
        title=f"{loaded.name} on {board.name}", title_justify="left",
    )  # fmt: skip
    for item in found:
        table.add_row(
            item.cost.phase, item.cost.format, engineering(item.cost.point.frequency_hz, "Hz"),
            engineering(item.cost.time_s, "s"), f"{item.speedup:.2f}×", engineering(item.cost.energy_per_token_j, "J"),
            item.cost.bound, engineering(item.switching_s, "s") if item.switching_s else "–",
        )  # fmt: skip
    stdout.print(table)
    blocks = [block for block in board.blocks if not block.follows]
    stdout.print("Above the first clock these would have to follow, and weight values do not shorten them:")
    for block in blocks:
        stdout.print(f"  {block.name}: {block.why}", style="dim", highlight=False)
