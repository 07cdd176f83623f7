"""What a quantization would take, and what one took beside it, as tables."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import msgspec
from rich.table import Table

from haloquant.cli.console import stdout
from haloquant.recipe import Transform
from haloquant.units import engineering

if TYPE_CHECKING:
    from haloquant.jobs.quantize.checkpoint import Stream
    from haloquant.jobs.quantize.forecast.plan import Stage


def show_plan(
    model: str, calibrated: bool, windows: int, workers: int, balanced: bool, transform: Transform, json: bool
) -> None:
    """Predict memory, disk and time of every stage; of a named shape or a bare config.json too."""
    from haloquant.jobs.inputs import planned_model
    from haloquant.jobs.quantize.forecast import plan, rates

    sizes, length = planned_model(model)
    said = plan.predict(sizes, rates.probe(), windows, length, balanced, transform)
    if json:
        stdout.print_json(msgspec.json.encode(said).decode())
        return
    stages = said.calibrated if calibrated else said.free
    how = f"{windows} windows of {length} tokens" if calibrated else "data-free"
    title = f"{said.model}: {len(sizes.layers)} linear layers, {said.weights:,} weights, {how}"
    table = Table(
        "stage", f"time, {workers} worker{'s' * (workers > 1)}", "memory", "for each further worker", title=title
    )
    for stage in stages:
        seconds = stage.seconds / (workers if stage.worker_b else 1)
        more = engineering(stage.worker_b, "B") if stage.worker_b else "–"
        table.add_row(stage.name, _duration(seconds), engineering(stage.driver_b, "B"), more)
    stdout.print(table)
    stdout.print(
        f"{engineering(said.read_b, 'B')} to read; {engineering(said.written_b, 'B')} to write, and the same while it "
        "works. Rates measured on this machine, with one thread.",
        highlight=False,
    )


def _duration(seconds: float) -> str:
    """A length of time for people."""
    hours, rest = divmod(round(seconds), 3600)
    return f"{hours} h {rest // 60:02} min" if hours else f"{rest // 60} min {rest % 60:02} s"


def stage_table(done: "Stream", said: Sequence["Stage"]) -> Table:
    """What every stage took, and what was predicted."""
    table = Table("stage", "time", "processor", "predicted", "memory", "predicted", "worker", title="stages")
    predicted = {stage.name: stage for stage in said}
    for spent in done.stages:
        if spent.kind:
            table.add_row(f"  {spent.kind}", "", f"{spent.cpu_s:.1f} s", "", "", "", "", style="dim")
            continue
        plan = predicted.get(spent.stage)
        table.add_row(
            spent.stage,
            f"{spent.seconds:.1f} s",
            f"{spent.cpu_s:.1f} s",
            f"{plan.seconds:.1f} s" if plan else "–",
            engineering(spent.driver_b, "B"),
            engineering(plan.driver_b, "B") if plan else "–",
            engineering(spent.worker_b, "B") if spent.worker_b else "–",
        )
    return table
