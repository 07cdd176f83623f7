"""Studies of one model on one machine: claims of the paper, sweeps, deadlines, graphics processors, multipliers."""

from dataclasses import dataclass
from pathlib import Path
from typing import Generic, Literal, TypeVar, get_args

from haloquant.accel.chart_rows import BandwidthClockCell, GpuRow, Mark, gpu_row, sweep_marks
from haloquant.accel.target import GpuTarget, Target
from haloquant.accel.workload.prefill_decode import decode
from haloquant.api.arguments import check_choice, path_text
from haloquant.api.machines.inputs import check_deadline, check_phases, floating_notes, open_on, passes_of
from haloquant.api.progress import Progress, reporting, tracked
from haloquant.jobs.machines import sweeps
from haloquant.jobs.machines.early_stop import early_stop
from haloquant.jobs.machines.element_comparison import ElementRow, compare_elements
from haloquant.jobs.machines.new_silicon_studies import MARK, RIVALS, elements_for, reasons_left_out
from haloquant.jobs.machines.sweeps import Claim, Deadlines
from haloquant.store.targets import read_gpu, read_systolic

Swept = Literal["transition", "static", "bandwidth", "bandwidth-clock"]
Row = TypeVar("Row")
PAPER_NOTE = "paper: its clocks as it states them, no memory system, free transitions, no attention; not a measurement"
NEW_SILICON_NOTE = (
    "new silicon: as much area as the machine's arrays take if made of the plain 8-bit element; every system on the "
    "element that suits it best; decoding and scaling are charged, wires are not"
)
ELEMENTS_NOTE = "counted in full adders (40 nm figures), not characterized: ratios between structures, not silicon"


@dataclass(frozen=True)
class Study(Generic[Row]):
    """Rows that answer one question about a model on a machine, with the assumptions that a reader must know."""

    question: str
    """The command that asks the same, with what is varied: "claims", "sweep-static", "deadline", "gpu", "elements"."""
    model: str
    profile: str
    machine: Target | GpuTarget
    fast_share: float
    """Share of tiles in the fast class, 0 to 1."""
    rows: tuple[Row, ...]
    """Times in seconds, energies in joules, frequencies in hertz, bandwidths in bytes per second."""
    notes: tuple[str, ...]
    """What was assumed."""


def check_claims(
    model: str | Path,
    target: str | Path = "tpuv4i_like",
    *,
    profile: str | Path = "default",
    prefill_tokens: int = 2048,
    context_tokens: int = 2048,
    batch: int = 1,
    fast_share: float = 0.81,
    progress: Progress = True,
) -> Study[Claim]:
    """Compare HALO with every rival under the premises of the paper, and under those of a described machine.

    Args:
        model: As in `simulate`.
        target: As in `simulate`.
        profile: As in `simulate`.
        prefill_tokens: As in `simulate`.
        context_tokens: As in `simulate`.
        batch: As in `simulate`.
        fast_share: As in `simulate`.
        progress: As in `simulate`.

    Returns:
        One row per phase and rival, with the speed and the energy ratio of both; and of new silicon, where elements of
        the MAC's cell library are known.

    Raises:
        InputError: As in `simulate`.

    Example:
        ```python
        from haloquant.api import check_claims

        for row in check_claims("llama2-7b").rows:
            print(row.paper.rival, f"paper {row.paper.speedup:.2f}x, machine {row.described.speedup:.2f}x")
        ```
    """
    check_phases(prefill_tokens, context_tokens, batch, fast_share)
    machine, loaded = open_on(model, target, profile, fast_share)
    with reporting(progress) as report:
        report("claims", 0, 1)
        rows = sweeps.paper_claims(loaded, read_systolic("paper_tpu"), machine, prefill_tokens, context_tokens, batch)
        report("claims", 1, 1)
    left = floating_notes(loaded, passes_of(loaded, prefill_tokens, context_tokens, batch)[0])
    mac = loaded.classes.profile.name
    new = (NEW_SILICON_NOTE,) if any(row.new_silicon for row in rows) else ()
    new += reasons_left_out(loaded, machine, elements_for(loaded.classes.profile, machine), ("HALO", *RIVALS))
    return Study("claims", loaded.name, mac, machine, loaded.fast_share, tuple(rows), (PAPER_NOTE, *new, *left))


def sweep(
    model: str | Path,
    target: str | Path = "tpuv4i_like",
    *,
    over: Swept = "transition",
    profile: str | Path = "default",
    prefill_tokens: int = 2048,
    context_tokens: int = 2048,
    batch: int = 1,
    fast_share: float = 0.8,
    progress: Progress = True,
) -> Study[Mark] | Study[BandwidthClockCell]:
    """Simulate HALO, W8A8 and W4A8 over a range of one machine parameter, all else equal.

    Args:
        model: As in `simulate`.
        target: As in `simulate`.
        over: "transition" (time of a clock transition, s), "static" (static power of an array, W), "bandwidth" (of the
            DRAM, B/s), or "bandwidth-clock" (a map of both; HALO and W4A8 only).
        profile: As in `simulate`.
        prefill_tokens: As in `simulate`.
        context_tokens: As in `simulate`.
        batch: As in `simulate`.
        fast_share: As in `simulate`.
        progress: As in `simulate`.

    Returns:
        One row per phase, value and system, on the given MAC and in new silicon; for the map, one per phase, bandwidth
        and clock.

    Raises:
        InputError: As in `simulate`, or the bandwidth is to be varied on a machine that does not limit it.

    Example:
        ```python
        from haloquant.api import sweep

        for row in sweep("llama2-7b", over="bandwidth").rows:
            print(row.phase, row.system, row.value, row.time_s)
        ```
    """
    check_choice("over", over, get_args(Swept))
    check_phases(prefill_tokens, context_tokens, batch, fast_share)
    machine, loaded = open_on(model, target, profile, fast_share)
    passes = passes_of(loaded, prefill_tokens, context_tokens, batch)
    mac, notes = loaded.classes.profile.name, tuple(floating_notes(loaded, passes[0]))
    if over == "bandwidth-clock":
        with reporting(progress) as report:
            cells = [
                cell
                for workload in tracked(passes, report, "sweep")
                for cell in sweeps.bandwidth_clock_map(loaded, workload, machine)
            ]
        return Study(f"sweep-{over}", loaded.name, mac, machine, loaded.fast_share, tuple(cells), notes)
    with reporting(progress) as report:
        found = [
            item
            for workload in tracked(passes, report, "sweep")
            for item in sweeps.sweep_systems(loaded, workload, machine, over)
        ]
    notes = (NEW_SILICON_NOTE, *notes) if any(item.system.endswith(MARK) for item in found) else notes
    elements = elements_for(loaded.classes.profile, machine)
    notes += reasons_left_out(loaded, machine, elements, sweeps.ON_NEW_SILICON)
    marks = sorted(sweep_marks([item.point for item in found]), key=lambda mark: (mark.phase != "prefill", mark.value))
    return Study(f"sweep-{over}", loaded.name, mac, machine, loaded.fast_share, tuple(marks), notes)


def meet_deadline(
    model: str | Path,
    target: str | Path = "edge_lpddr5x",
    *,
    period_s: float = 0.1,
    idle_w: float = 0.2,
    profile: str | Path = "default",
    context_tokens: int = 2048,
    batch: int = 1,
    fast_share: float = 0.8,
    progress: Progress = True,
) -> Study[Deadlines]:
    """Find the supply with the least energy at which one decode step meets a deadline, and compare race-to-idle.

    Args:
        model: As in `simulate`.
        target: As in `simulate`.
        period_s: Time for one decode step, in seconds.
        idle_w: Power in watts from the end of the step to the deadline.
        profile: As in `simulate`.
        context_tokens: As in `simulate`.
        batch: As in `simulate`.
        fast_share: As in `simulate`.
        progress: As in `simulate`.

    Returns:
        One row: both ways with their time (s) and energy (J), and every supply that was tried.

    Raises:
        InputError: As in `simulate`.
        InfeasibleError: No supply meets the deadline; the message gives the shortest possible time.

    Example:
        ```python
        from haloquant.api import meet_deadline

        (found,) = meet_deadline("llama2-7b", period_s=0.2).rows
        print(f"{found.least_energy.energy_j:.3f} J at {found.supply_factor:.0%} of the supply")
        ```
    """
    check_phases(1, context_tokens, batch, fast_share)
    check_deadline(period_s, idle_w)
    machine, loaded = open_on(model, target, profile, fast_share)
    step = decode(loaded.shape, context_tokens, batch)
    with reporting(progress) as report:
        report("deadline", 0, 1)
        found = sweeps.deadline_runs(loaded, step, machine, period_s, idle_w)
        report("deadline", 1, 1)
    mac, law = loaded.classes.profile.name, f"delay at a lower supply, {found.law}"
    return Study("deadline", loaded.name, mac, machine, loaded.fast_share, (found,), (law,))


def estimate_gpu(
    model: str | Path,
    target: str | Path = "gpu_2080ti",
    *,
    profile: str | Path = "default",
    prefill_tokens: int = 2048,
    context_tokens: int = 2048,
    batch: int = 1,
    fast_share: float = 0.8,
    progress: Progress = True,
) -> Study[GpuRow]:
    """Estimate FP16, W8A8, W4A16, W4A8 and HALO on a GPU or CPU by its roofline. Nothing is measured.

    Args:
        model: As in `simulate`.
        target: Processor by its roofline: the name of a shipped target (gpu_2080ti, h200, rpi5), or a TOML file.
        profile: As in `simulate`.
        prefill_tokens: As in `simulate`.
        context_tokens: As in `simulate`.
        batch: As in `simulate`.
        fast_share: As in `simulate`.
        progress: As in `simulate`.

    Returns:
        One row per phase, format and clock. The notes begin with the blocks that would have to follow a faster clock
        although weight values do not shorten them.

    Raises:
        InputError: As in `simulate`.

    Example:
        ```python
        from haloquant.api import estimate_gpu

        for row in estimate_gpu("llama2-7b", "h200").rows:
            print(row.phase, row.format, f"{row.time_s * 1e3:.2f} ms", row.bound)
        ```
    """
    check_phases(prefill_tokens, context_tokens, batch, fast_share)
    board = read_gpu(path_text("target", target))
    _, loaded = open_on(model, "paper_tpu", profile, fast_share)
    passes = passes_of(loaded, prefill_tokens, context_tokens, batch)
    with reporting(progress) as report:
        rows = [
            gpu_row(item)
            for workload in tracked(passes, report, "gpu")
            for item in sweeps.gpu_runs(loaded, workload, board)
        ]
    blocks = [f"{block.name}: {block.why}" for block in board.blocks if not block.follows]
    notes = (*blocks, *floating_notes(loaded, passes[0]))
    return Study("gpu", loaded.name, loaded.classes.profile.name, board, loaded.fast_share, tuple(rows), notes)


def compare_multipliers(
    model: str | Path,
    target: str | Path = "tpuv4i_like",
    *,
    profile: str | Path = "default",
    prefill_tokens: int = 2048,
    context_tokens: int = 2048,
    batch: int = 1,
    fast_share: float = 0.8,
    relu_text: str | Path | None = None,
    progress: Progress = True,
) -> Study[ElementRow]:
    """Compare other multipliers on the same machine (MixPE, QuartDepth, USEFUSE), counted in full adders.

    Args:
        model: As in `simulate`.
        target: As in `simulate`.
        profile: As in `simulate`.
        prefill_tokens: As in `simulate`.
        context_tokens: As in `simulate`.
        batch: As in `simulate`.
        fast_share: As in `simulate`.
        relu_text: Text (.txt, .xz), or "demo". The model must then be a plain folder with ReLUs: its sums that become
            surely negative are counted, and a row says what a bit-serial element gains by stopping at them.
        progress: As in `simulate`.

    Returns:
        One row per phase and multiplier, with the bit operations (BOPs) and effective bit operations of one token.

    Raises:
        InputError: As in `simulate`.

    Example:
        ```python
        from haloquant.api import compare_multipliers

        for row in compare_multipliers("opt-1.3b").rows:
            print(row.phase, row.element, f"{row.time_s * 1e3:.2f} ms, {row.energy_j:.3f} J")
        ```
    """
    check_phases(prefill_tokens, context_tokens, batch, fast_share)
    machine, loaded = open_on(model, target, profile, fast_share)
    passes = passes_of(loaded, prefill_tokens, context_tokens, batch)
    digits: float | None = None
    counted: list[str] = []
    with reporting(progress) as report:
        if relu_text is not None:
            digits, note = early_stop(path_text("model", model), path_text("relu_text", relu_text), report)
            counted.append(note)
        rows = [
            row
            for workload in tracked(passes, report, "elements")
            for row in compare_elements(loaded, workload, machine, digits)
        ]
    notes = (ELEMENTS_NOTE, *floating_notes(loaded, passes[0]), *counted)
    return Study("elements", loaded.name, "full-adder count", machine, loaded.fast_share, tuple(rows), notes)
