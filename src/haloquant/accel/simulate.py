"""Time and energy of one forward pass: the schedule's phases on the machine, segment by segment.

A segment is a stretch of one dependency group at one clock. It lasts as long as the slowest of its resources: arrays,
memory outside, memory inside, sparse engine (each is double-buffered against the others). Between segments stand the
drain, which is part of the array's cycles, and the transition. Formulas: docs/stages/accelerators.md.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import reduce
from operator import add

import numpy as np
from jaxtyping import Float64

from haloquant.errors import InputError
from haloquant.types import Cost, LayerTiles, MacProfile, Schedule

from .checks import check_clocks
from .cycles import first_load_cycles
from .energy import leakage_w, piece_energy
from .layer import LayerWork, layer_works, mean_energy_j
from .memory import traffic
from .results import BOUNDS, TIME_PARTS, LayerCost, Segment, Simulation
from .runs import phase_runs
from .steps import Lane, Piece, Step, steps
from .target import Target
from .timing import StepTime, step_time
from .workload import Workload

DelayAt = Callable[[float], Float64[np.ndarray, " w"]]


def simulate(
    workload: Workload,
    layer_tiles: Mapping[str, LayerTiles],
    schedule: Schedule,
    target: Target,
    profile: MacProfile,
    *,
    corner: int = 0,
    delay_at: DelayAt | None = None,
    kv_bits: int = 8,
    cycles_per_mac: float = 1.0,
    system: str = "",
) -> Simulation:
    """Return what one forward pass costs.

    Args:
        workload: The products of the pass.
        layer_tiles: What is known of each quantized layer, by name; products without an entry are attention or 16-bit
            floating point.
        schedule: Phases of this workload (`dvfs.schedule.plan`).
        target: The machine.
        profile: Energy (and delay) of the multiplier by weight value.
        corner: Which of the profile's corners holds the energies. They stand for the target's `energy_voltage_v` and
            scale with the square of the supply from there.
        delay_at: Delay on this machine of each of the profile's weight values at a supply voltage, to check every
            tile's clock with. By default the profile's own where its volts are the machine's, else its delays scaled
            such that the slowest value meets the base clock. What cannot be checked is said in the result's notes.
        kv_bits: Bits of keys and values; 16 runs attention in floating point.
        cycles_per_mac: Array cycles per multiply-accumulate, above 1 for bit-serial units.
        system: A name for the result.

    Raises:
        InputError: if the schedule is not of this workload, leaves out or repeats a tile, or runs a tile at a clock
            that its slowest weight value does not meet.
        ProfileError: if the profile does not know a weight value.
    """
    if not 0 <= corner < len(profile.corners):
        raise InputError(f"corner must be 0 to {len(profile.corners) - 1} for profile {profile.name}, not {corner}.")
    if not cycles_per_mac > 0:
        raise InputError(f"cycles_per_mac must be above 0, not {cycles_per_mac:g}.")
    phases = phase_runs(workload, layer_tiles, schedule)
    notes = check_clocks(layer_tiles, schedule.layers, phases, target, profile, corner, delay_at)
    works = layer_works(workload, layer_tiles, target, profile, corner, kv_bits, cycles_per_mac)
    moves = [traffic(w, workload, target, schedule.row_blocks.get(w.gemm.group, 1)) for w in works]
    reference_v = target.energy_voltage_v
    mean_j = mean_energy_j(profile, corner)
    switching = schedule.transitions > 0
    segments: list[Segment] = []
    costs: list[tuple[dict[str, float], dict[str, float]]] = [({}, {}) for _ in works]
    bound_s: list[dict[str, float]] = [dict.fromkeys(BOUNDS, 0.0) for _ in works]
    clock_s = 0.0
    for step in steps(phases, schedule.row_blocks, works, target.array.count):
        times = step_time(step, works, moves, target)
        fill_cycles, fill_s = _fill(step, works, target) if not segments else (0, 0.0)
        made = _segments(step, times, clock_s, fill_cycles, fill_s, target)
        segments += made
        clock_s = made[0].end_s
        weights = _weights(step, works)
        for piece, lane, weight in weights:
            energy = piece_energy(piece, lane, works, moves, target, reference_v, mean_j)
            _charge(costs[piece.layer], energy, step, made[0], times, weight, target, switching)
            bound_s[piece.layer][times.bound] += weight * times.busy_s
    layers = tuple(
        LayerCost(
            work.gemm.layer,
            Cost(dict.fromkeys(TIME_PARTS, 0.0) | parts[0], parts[1], 0, 0),
            max(bounds, key=lambda name: bounds[name]),
            work.gemm.m * work.gemm.k * work.gemm.n * work.gemm.count,
            move.dram,
            work.folds,
            schedule.row_blocks.get(work.gemm.group, 1),
        )
        for work, move, parts, bounds in zip(works, moves, costs, bound_s, strict=True)
    )
    fastest = max(phase.point.frequency_hz for phase in schedule.phases)
    return Simulation(
        system=system,
        workload=workload.name,
        phase=workload.phase,
        target=target.name,
        policy=schedule.policy,
        total=_total(layers, segments),
        layers=layers,
        segments=tuple(segments),
        layer_names=schedule.layers,
        tokens=workload.tokens,
        macs=workload.macs,
        peak_macs_per_s=target.array.rows * target.array.columns * target.array.count * fastest / cycles_per_mac,
        dram_bytes=sum(move.dram for move in moves),
        notes=notes,
    )


def _fill(step: Step, works: Sequence[LayerWork], target: Target) -> tuple[int, float]:
    """Cycles and time before the very first tile can stream: its weights from outside, then into the array."""
    lane = next(lane for lane in step.lanes if lane.pieces)
    work = works[lane.pieces[0].layer]
    cycles = first_load_cycles(target.array.weight_load, target.array.rows)
    fetch = target.dram.latency_s + work.weight_bytes / work.folds / target.dram.stream_b_per_s
    return cycles, fetch + cycles / lane.point.frequency_hz


def _segments(
    step: Step, times: StepTime, start_s: float, fill_cycles: int, fill_s: float, target: Target
) -> list[Segment]:
    """One segment per lane; all of a step begin and end together."""
    return [
        Segment(
            group=step.group,
            point=lane.point,
            first_array=lane.first_array,
            arrays=lane.arrays,
            start_s=start_s,
            transition_s=step.transitions * target.transition.latency_s,
            fill_s=fill_s,
            compute_s=seconds,
            dram_s=times.dram_s,
            sram_s=times.sram_s,
            spmv_s=times.spmv_s,
            busy_s=times.busy_s,
            cycles=cycles + fill_cycles,
            tiles=sum(piece.folds for piece in lane.pieces),
            blocks=step.blocks,
            transitions=step.transitions,
            layers=tuple(dict.fromkeys(piece.layer for piece in lane.pieces)),
            bound=times.bound,
        )
        for lane, cycles, seconds in zip(step.lanes, times.lane_cycles, times.lane_s, strict=True)
    ]


def _weights(step: Step, works: Sequence[LayerWork]) -> list[tuple[Piece, Lane, float]]:
    """Every piece of a step with its share of the step's array work."""
    pieces = [(piece, lane, piece.folds * works[piece.layer].stretch) for lane in step.lanes for piece in lane.pieces]
    total = sum(weight for _, _, weight in pieces)
    return [(piece, lane, weight / total) for piece, lane, weight in pieces]


def _charge(
    account: tuple[dict[str, float], dict[str, float]],
    energy: Mapping[str, float],
    step: Step,
    segment: Segment,
    times: StepTime,
    weight: float,
    target: Target,
    switching: bool,
) -> None:
    """Add a piece's share of a step to its layer: its own switching, all else by its share of the array work."""
    time_s, energy_j = account
    running_w = leakage_w(step, target)
    leakage = weight * running_w * (times.busy_s + segment.fill_s)
    loss = 0.0
    if step.transitions:
        arrays_w = target.static.array_w * target.array.count * step.transition_v / target.base.voltage_v
        leakage += weight * (arrays_w + target.static.rest_w) * segment.transition_s
    if switching:  # what the arrays draw comes through the on-chip regulator that makes switching possible
        array_leakage = weight * (running_w - target.static.rest_w) * times.busy_s
        drawn = energy["mac"] + energy["accumulator"] + array_leakage
        loss = drawn * (1.0 / target.transition.regulator_efficiency - 1.0)
    parts = (
        (times.bound, weight * times.busy_s),
        ("fill", weight * segment.fill_s),
        ("transition", weight * segment.transition_s),
    )
    for name, value in parts:
        time_s[name] = time_s.get(name, 0.0) + value
    dvfs = weight * step.transitions * target.transition.energy_j + loss
    for name, value in (*energy.items(), ("leakage", leakage), ("dvfs", dvfs)):
        energy_j[name] = energy_j.get(name, 0.0) + value


def _total(layers: Sequence[LayerCost], segments: Sequence[Segment]) -> Cost:
    """The sum over layers; cycles and transitions are counted on the timeline, islands once."""
    total = reduce(add, (layer.cost for layer in layers))
    at_once: dict[float, int] = {}
    for segment in segments:
        at_once[segment.start_s] = max(at_once.get(segment.start_s, 0), segment.cycles)
    switches = sum(segment.transitions for segment in segments)
    return Cost(total.time_s, total.energy_j, sum(at_once.values()), switches)
