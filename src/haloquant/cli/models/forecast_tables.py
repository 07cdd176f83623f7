"""Tables of the predicted and of the measured time, memory and disk space of a quantization."""

from collections.abc import Sequence

from rich.table import Table

from haloquant.api.models.quantization_forecast import ExpectedStage, Forecast
from haloquant.cli.console import stdout
from haloquant.jobs.engine.metering import StageUsage
from haloquant.jobs.quantize.forecast.device_plan import DevicePlan
from haloquant.jobs.quantize.forecast.device_rates import H100
from haloquant.units import engineering


def show_forecast(predicted: Forecast, workers: int) -> None:
    """Print the predicted memory, disk and time of every stage."""
    plan = predicted.plan
    how = f"{predicted.windows} windows of {predicted.window_tokens} tokens" if predicted.calibrated else "data-free"
    title = f"{plan.model}: {predicted.layers} linear layers, {plan.weights:,} weights, {how}"
    table = Table(
        "stage", f"time, {workers} worker{'s' * (workers > 1)}", "memory", "for each further worker", title=title
    )
    for stage in predicted.stages:
        seconds = stage.seconds / (workers if stage.worker_b else 1)
        more = engineering(stage.worker_b, "B") if stage.worker_b else "–"
        table.add_row(stage.name, _duration(seconds), engineering(stage.driver_b, "B"), more)
    table.add_section()
    total_s, peak_b = plan.seconds(predicted.calibrated, workers), plan.peak_b(predicted.calibrated)
    table.add_row("start", _duration(plan.start_s(predicted.calibrated)), "", "")
    table.add_row("total", _duration(total_s), engineering(peak_b, "B"), "", style="bold")
    stdout.print(table)
    stdout.print(
        f"{engineering(plan.read_b, 'B')} to read; {engineering(plan.written_b, 'B')} to write, and the same while it "
        "works. Rates measured on this machine, with one thread.",
        highlight=False,
    )
    if predicted.calibrated and plan.statistics_b:
        stdout.print(
            f"{engineering(plan.statistics_b, 'B')} of statistics stay on disk between the two passes; with less than "
            "twice that free, it calibrates twice.",
            highlight=False,
        )

    if predicted.gpu is not None:
        _show_gpu(predicted.gpu)


def _show_gpu(plan: DevicePlan) -> None:
    """Print the predicted time and device memory of every stage on GPUs, and what the prediction is from."""
    held_b = engineering(plan.memory_b, "B")
    title = (
        f"on one {plan.device}, {held_b}" if plan.cards == 1 else f"on {plan.cards} GPUs, {plan.device}, {held_b} each"
    )
    table = Table("stage", "time", "device memory", title=title)
    for stage in plan.stages:
        held = engineering(stage.device_b, "B") if stage.device_b else "–"
        table.add_row(stage.name, _duration(stage.seconds), held)
    table.add_section()
    table.add_row("total", _duration(plan.seconds), engineering(plan.peak_b, "B"), style="bold")
    stdout.print(table)
    if plan.obstacle:
        stdout.print(f"It does not fit: {plan.obstacle}.", highlight=False)
    elif plan.bands > 1:
        stdout.print(f"The rows of the largest layer are rounded in {plan.bands} parts.", highlight=False)
    stdout.print(
        "Stages without device memory, and packing, run on the CPU, at the rates of this machine.", highlight=False
    )
    if plan.cards > 1:
        stdout.print(
            "The first GPU calibrates, and layers are divided among all; each stage's memory is that of one GPU.",
            highlight=False,
        )
    for name, rate in H100.described().items():
        how = "measured" if rate.measured else "assumed"
        stdout.print(f"  {name}: {rate.value:.3g}, {how} ({rate.source})", highlight=False)


def _duration(seconds: float) -> str:
    """Return a duration as hours and minutes, or as minutes and seconds."""
    hours, rest = divmod(round(seconds), 3600)
    return f"{hours} h {rest // 60:02} min" if hours else f"{rest // 60} min {rest % 60:02} s"


def stage_table(stages: Sequence[StageUsage], predicted: Sequence[ExpectedStage]) -> Table:
    """Return the measured and the predicted use of every stage. Rows of layer kinds are below their stage.

    The memory of a GPU has a column if a stage was predicted on one.
    """
    gpu = any(stage.device_b is not None for stage in predicted)
    table = Table("stage", "time", "processor", "predicted", "memory", "predicted", "worker", title="stages")
    if gpu:
        table.add_column("GPU memory, predicted")
    expected = {stage.name: stage for stage in predicted}
    for spent in stages:
        if spent.kind:
            table.add_row(f"  {spent.kind}", "", f"{spent.cpu_s:.1f} s", style="dim")
            continue
        stage = expected.get(spent.stage)
        row = [
            spent.stage,
            f"{spent.seconds:.1f} s",
            f"{spent.cpu_s:.1f} s",
            f"{stage.seconds:.1f} s" if stage else "–",
            engineering(spent.driver_b, "B"),
            _bytes(stage.driver_b if stage else None),
            _bytes(spent.worker_b or None),
        ]
        table.add_row(*row, *([_bytes(stage.device_b if stage else None)] if gpu else []))
    return table


def _bytes(held_b: float | None) -> str:
    """Return bytes as text, a dash where they are not known."""
    return "–" if held_b is None else engineering(held_b, "B")
