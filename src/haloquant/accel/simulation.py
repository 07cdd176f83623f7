"""Time and energy of one forward pass: the phases of a schedule on a machine.

The pass is cut into segments; a segment is a part of one dependency group at one clock. It lasts as long as the slowest
of its resources: arrays, DRAM, on-chip memory, sparse engine. They are double-buffered against each other. Between two
segments come the drain, which the array's cycles include, and the transition. Formulas: docs/stages/accelerators.md.
"""

from collections.abc import Callable, Mapping

import numpy as np
from jaxtyping import Float64

from haloquant.accel.clock_checks import check_clocks, clocks_are_met, point_delays, unchecked_clock_notes
from haloquant.accel.cost_model.group_cost import cost_of_groups
from haloquant.accel.cost_model.input_density import with_sparse_inputs
from haloquant.accel.cost_model.layer_work import layer_works, mean_energy_j
from haloquant.accel.cost_model.memory_traffic import layer_traffic
from haloquant.accel.cost_model.phase_cost import cost_of_phases
from haloquant.accel.cost_model.schedule_coverage import check_names, covers_workload, phase_runs
from haloquant.accel.cost_model.step_cost import CostModel, as_time_and_energy
from haloquant.accel.results import BOUNDS, LayerCost, Simulation
from haloquant.accel.target import Target
from haloquant.accel.workload.prefill_decode import Workload
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
    passes: Mapping[str, int] | None = None,
    system: str = "",
) -> Simulation:
    """Return the time and energy of one forward pass, in total, by layer and by segment.

    Args:
        workload: The products of the pass.
        layer_tiles: The tiles of each quantized layer, by name. Products without an entry are attention or run in
            16-bit floating point.
        schedule: Phases of this workload (`dvfs.schedule.plan`).
        target: The machine.
        profile: Energy and delay of the multiplier by weight value.
        corner: The corner of the profile whose energies are used. They hold at the target's `energy_voltage_v` and
            scale with the square of the supply.
        delay_at: Function from a supply in V to the delay in s of each of the profile's weight values on this machine.
            Every tile's clock is checked with it. The default is the profile's own delays if the profile's voltages are
            the machine's, else its delays scaled so that the slowest value meets the base clock. Clocks that cannot be
            checked are listed in the result's notes.
        kv_bits: Bits of keys and values; 16 runs attention in floating point.
        cycles_per_mac: Array cycles per multiply-accumulate, above 1 for bit-serial units.
        passes: How often the array runs over a layer whose weights are wider than its multipliers, by name.
        system: A name for the result.

    Raises:
        InputError: The schedule is not of this workload, leaves out or repeats a tile, or runs a tile at a clock that
            its slowest weight value does not meet.
        ProfileError: The profile lacks a weight value or its energy.
    """
    if not 0 <= corner < len(profile.corners):
        raise InputError(f"corner must be 0 to {len(profile.corners) - 1} for profile {profile.name}, not {corner}")
    if not cycles_per_mac > 0:
        raise InputError(f"cycles_per_mac must be above 0, not {cycles_per_mac:g}")
    check_names(workload, schedule)
    works = layer_works(workload, layer_tiles, target, profile, corner, kv_bits, cycles_per_mac, passes)
    works = with_sparse_inputs(works, workload, target)
    traffics = [layer_traffic(w, workload, target, schedule.row_blocks.get(w.gemm.group, 1)) for w in works]
    model = CostModel(target, target.energy_voltage_v, mean_energy_j(profile, corner), schedule.transitions > 0)
    table = schedule.phases
    points = used_points(table)
    delays = point_delays(points, target, profile, corner, delay_at)
    if (
        isinstance(table, PhaseTable)
        and covers_workload(table, workload, layer_tiles)
        and clocks_are_met(table, schedule.layers, layer_tiles, delays, profile)
    ):
        pass_cost = cost_of_groups(table, schedule.row_blocks, works, traffics, model)
    else:  # any other schedule; an error names the layer and the tile that do not fit
        phases = phase_runs(workload, layer_tiles, schedule)
        check_clocks(phases, schedule.layers, layer_tiles, delays, profile)
        pass_cost = cost_of_phases(phases, schedule.row_blocks, works, traffics, model)
    layers = tuple(
        LayerCost(
            work.gemm.layer,
            Cost(*as_time_and_energy(row), 0, 0),
            BOUNDS[max(range(len(BOUNDS)), key=lambda i: row[i])],
            work.gemm.m * work.gemm.k * work.gemm.n * work.gemm.count,
            traffic.dram,
            work.folds,
            schedule.row_blocks.get(work.gemm.group, 1),
        )
        for work, traffic, row in zip(works, traffics, pass_cost.costs.tolist(), strict=True)
    )
    fastest = max(point.frequency_hz for point in points)
    return Simulation(
        system=system,
        workload=workload.name,
        phase=workload.phase,
        target=target.name,
        policy=schedule.policy,
        total=Cost(*as_time_and_energy(pass_cost.costs.sum(axis=0).tolist()), pass_cost.cycles, pass_cost.transitions),
        layers=layers,
        segments=pass_cost.segments,
        layer_names=schedule.layers,
        tokens=workload.tokens,
        macs=workload.macs,
        peak_macs_per_s=target.array.rows * target.array.columns * target.array.count * fastest / cycles_per_mac,
        dram_bytes=sum(traffic.dram for traffic in traffics),
        notes=unchecked_clock_notes(delays, target, profile),
    )
