"""Time and energy of one forward pass: the schedule's phases on the machine, segment by segment.

A segment is a stretch of one dependency group at one clock. It lasts as long as the slowest of its resources: arrays,
memory outside, memory inside, sparse engine (each is double-buffered against the others). Between segments stand the
drain, which is part of the array's cycles, and the transition. Formulas: docs/stages/accelerators.md.
"""

from collections.abc import Callable, Mapping

import numpy as np
from jaxtyping import Float64

from haloquant.accel.billing.by_group import walk_table
from haloquant.accel.billing.by_phase import Machine, walk_phases
from haloquant.accel.billing.layer_work import layer_works, mean_energy_j
from haloquant.accel.billing.memory_traffic import traffic
from haloquant.accel.billing.phase_runs import check_names, covers, phase_runs
from haloquant.accel.billing.step_cost import as_parts
from haloquant.accel.clock_checks import check_clocks, clocks_hold, point_delays, unchecked
from haloquant.accel.results import BOUNDS, LayerCost, Simulation
from haloquant.accel.target import Target
from haloquant.accel.workload.passes import Workload
from haloquant.errors import InputError
from haloquant.records import Cost, LayerTiles, MacProfile, Schedule
from haloquant.records.phases import PhaseTable, used_points

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
    check_names(workload, schedule)
    works = layer_works(workload, layer_tiles, target, profile, corner, kv_bits, cycles_per_mac)
    moves = [traffic(w, workload, target, schedule.row_blocks.get(w.gemm.group, 1)) for w in works]
    machine = Machine(target, target.energy_voltage_v, mean_energy_j(profile, corner), schedule.transitions > 0)
    table = schedule.phases
    points = used_points(table)
    delays = point_delays(points, target, profile, corner, delay_at)
    if (
        isinstance(table, PhaseTable)
        and covers(table, workload, layer_tiles)
        and clocks_hold(table, schedule.layers, layer_tiles, delays, profile)
    ):
        walk = walk_table(table, schedule.row_blocks, works, moves, machine)
    else:  # phase by phase: what does not fit is refused here, by name
        phases = phase_runs(workload, layer_tiles, schedule)
        check_clocks(phases, schedule.layers, layer_tiles, delays, profile)
        walk = walk_phases(phases, schedule.row_blocks, works, moves, machine)
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
        for work, move, row in zip(works, moves, walk.parts.tolist(), strict=True)
    )
    fastest = max(point.frequency_hz for point in points)
    return Simulation(
        system=system,
        workload=workload.name,
        phase=workload.phase,
        target=target.name,
        policy=schedule.policy,
        total=Cost(*as_parts(walk.parts.sum(axis=0).tolist()), walk.cycles, walk.transitions),
        layers=layers,
        segments=walk.segments,
        layer_names=schedule.layers,
        tokens=workload.tokens,
        macs=workload.macs,
        peak_macs_per_s=target.array.rows * target.array.columns * target.array.count * fastest / cycles_per_mac,
        dram_bytes=sum(move.dram for move in moves),
        notes=unchecked(delays, target, profile),
    )
