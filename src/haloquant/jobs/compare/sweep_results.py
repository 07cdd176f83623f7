"""Rows of the results for methods at other transition times and static powers of a machine.

These two are the least certain data of a machine.
"""

from collections.abc import Callable, Sequence
from functools import partial

from haloquant.accel.results import Simulation
from haloquant.accel.system_comparison import STATIC_W, TRANSITIONS_S, sweep_static, sweep_transition
from haloquant.accel.target import Target
from haloquant.accel.workload.prefill_decode import Workload
from haloquant.report.results import SweepRow

STATIC_FACTORS = (0.0, 0.5, 1.0, 2.0, 4.0)  # times the machine's own static power

Simulate = Callable[[str, Workload, Target], Simulation]


def sweep_rows(
    names: Sequence[str], workloads: Sequence[Workload], target: Target, simulate: Simulate
) -> list[SweepRow]:
    """Return the time and energy of each method at several transition times and static powers, for every phase.

    A new schedule is made for every value, because a compiler would know the cost of a transition.

    Args:
        names: Names of the methods.
        workloads: The passes.
        target: The machine.
        simulate: Simulates a method on a pass and a machine.
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
