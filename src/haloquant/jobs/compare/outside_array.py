"""What stands beside the array's figures: graphics processors as rooflines, and sweeps of what is least certain."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial

from haloquant.accel.comparison import STATIC_W, TRANSITIONS_S, sweep_static, sweep_transition
from haloquant.accel.gpu_roofline import Arithmetic, GpuFormat, what_if
from haloquant.accel.results import Simulation
from haloquant.accel.target import GpuTarget, Target
from haloquant.accel.workload.passes import Workload
from haloquant.jobs.compare.stored import Method
from haloquant.report.results import GpuRow, SweepRow

# How a method would be multiplied: a graphics processor computes HALO's and W4A8's words as 8-bit integers.
_RATES: Mapping[str, Arithmetic] = {"fp16": "float16", "w8a8": "int8", "w4a8": "int8", "halo-bal": "int8"}
STATIC_FACTORS = (0.0, 0.5, 1.0, 2.0, 4.0)

Simulate = Callable[[str, Workload, Target], Simulation]


def gpu_rows(targets: Sequence[GpuTarget], made: Mapping[str, Method], workloads: Sequence[Workload]) -> list[GpuRow]:
    """Every method of the comparison at its stored bits, on every board, at the board's clock and as a what-if.

    Layers that a method leaves in floating point (the head, as a rule) are read and multiplied so.
    """
    rows: list[GpuRow] = []
    for target in targets:
        for workload in workloads:
            for name, rate in _RATES.items():
                if name not in made:
                    continue
                bits = made[name].bits.per_weight
                narrow = 16 if name == "fp16" else 8
                left = [gemm.layer for gemm in workload.gemms if gemm.layer not in made[name].tiles]
                for at in what_if(workload, target, GpuFormat(name, bits, narrow, narrow, rate), left):
                    cost = at.cost
                    rows.append(
                        GpuRow(
                            target.name,
                            name,
                            workload.phase,
                            bits,
                            cost.point.voltage_v,
                            cost.point.frequency_hz,
                            cost.time_s,
                            cost.energy_per_token_j,
                            cost.bound,
                            cost.point.frequency_hz > target.points[0].frequency_hz,
                            [block.name for block in at.must_follow],
                            at.switching_s,
                        )
                    )
    return rows


def sweep_rows(
    names: Sequence[str], workloads: Sequence[Workload], target: Target, simulate: Simulate
) -> list[SweepRow]:
    """Each method on one machine over the time of a transition and over static power, in every phase.

    Schedules are made anew for every value: a compiler would know what a transition costs.
    """
    own_s, own_w = target.transition.latency_s, target.static.array_w
    latencies = sorted({*TRANSITIONS_S, own_s})
    powers = [factor * own_w for factor in STATIC_FACTORS] if own_w > 0 else list(STATIC_W)
    rows: list[SweepRow] = []
    for name in names:
        for workload in workloads:
            run = partial(simulate, name, workload)
            for point in (*sweep_transition(run, target, latencies), *sweep_static(run, target, powers)):
                own = point.value == (own_s if point.unit == "s" else own_w)
                total = point.simulation.total
                rows.append(
                    SweepRow(
                        name, target.name, workload.phase, point.swept, point.unit, point.value, own,
                        total.total_time_s, total.total_energy_j,
                    )
                )  # fmt: skip
    return rows
