"""Time and energy of one forward pass: the schedule's phases on the machine, segment by segment.

A segment is a stretch of one dependency group at one clock. It lasts as long as the slowest of its resources: arrays,
memory outside, memory inside, sparse engine (each is double-buffered against the others). Between segments stand the
drain, which is part of the array's cycles, and the transition. Formulas: docs/stages/accelerators.md.
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from jaxtyping import Float64

from haloquant.errors import InputError
from haloquant.types import Cost, LayerTiles, MacProfile, Schedule

from .bill import PARTS, Bill, as_parts, bill
from .checks import check_clocks
from .cycles import first_load_cycles
from .layer import LayerWork, layer_works, mean_energy_j
from .memory import Traffic, traffic
from .results import BOUNDS, LayerCost, Segment, Simulation
from .runs import phase_runs
from .steps import Step, steps
from .target import Target
from .timing import StepTime
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
    kinds = _kinds(works, moves)
    bills: dict[_Likeness, Bill] = {}  # equal layers make equal steps: each is worked out once
    segments: list[Segment] = []
    charged: list[int] = []
    rows: list[Float64[np.ndarray, "piece part"]] = []
    clock_s = 0.0
    for step in steps(phases, schedule.row_blocks, works, target.array.count):
        fill_cycles, fill_s = _fill(step, works, target) if not segments else (0, 0.0)
        alike = _likeness(step, kinds, fill_s)
        if alike not in bills:
            bills[alike] = bill(step, works, moves, target, reference_v, mean_j, fill_s, switching)
        made = bills[alike]
        segments += _segments(step, made.times, clock_s, fill_cycles, fill_s, target)
        clock_s = segments[-1].end_s
        charged += [piece.layer for piece in step.pieces]
        rows.append(made.parts)
    parts = np.zeros((len(works), len(PARTS)))
    np.add.at(parts, charged, np.concatenate(rows))
    layers = tuple(
        LayerCost(
            work.gemm.layer,
            Cost(*as_parts(row), 0, 0),
            BOUNDS[max(range(len(BOUNDS)), key=lambda i: row[i])],
            work.gemm.m * work.gemm.k * work.gemm.n * work.gemm.count,
            move.dram,
            work.folds,
            schedule.row_blocks.get(work.gemm.group, 1),
        )
        for work, move, row in zip(works, moves, parts.tolist(), strict=True)
    )
    fastest = max(phase.point.frequency_hz for phase in schedule.phases)
    return Simulation(
        system=system,
        workload=workload.name,
        phase=workload.phase,
        target=target.name,
        policy=schedule.policy,
        total=_total(parts.sum(axis=0).tolist(), segments),
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


_Likeness = tuple[object, ...]


def _kinds(works: Sequence[LayerWork], moves: Sequence[Traffic]) -> list[int]:
    """A number for each layer that layers of equal work and traffic share."""
    numbers: dict[_Likeness, int] = {}
    kinds: list[int] = []
    for w, move in zip(works, moves, strict=True):
        sizes = (w.gemm.m, w.gemm.k, w.gemm.n, w.gemm.count)
        kinds.append(numbers.setdefault((sizes, w.folds, w.stretch, w.nnz, move), len(numbers)))
    return kinds


def _likeness(step: Step, kinds: Sequence[int], fill_s: float) -> _Likeness:
    """All that the bill of a step follows from: steps that share it differ in nothing but the names of their layers."""
    lanes = tuple(
        (lane.point, lane.arrays, tuple((kinds[piece.layer], piece.folds, piece.tile_j) for piece in lane.pieces))
        for lane in step.lanes
    )
    return step.blocks, step.transitions, step.transition_v, fill_s, lanes


def _total(parts: Sequence[float], segments: Sequence[Segment]) -> Cost:
    """The sum over layers; cycles and transitions are counted on the timeline, islands once."""
    at_once: dict[float, int] = {}
    for segment in segments:
        at_once[segment.start_s] = max(at_once.get(segment.start_s, 0), segment.cycles)
    switches = sum(segment.transitions for segment in segments)
    return Cost(*as_parts(parts), sum(at_once.values()), switches)
