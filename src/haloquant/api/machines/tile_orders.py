"""Simulate HALO under different orders of the tiles, and so with different numbers of clock transitions."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from haloquant.accel.chart_rows import PolicyRow, policy_row
from haloquant.accel.results import Simulation
from haloquant.accel.target import Target
from haloquant.accel.workload.prefill_decode import Workload
from haloquant.api.arguments import check_choice
from haloquant.api.machines.inputs import check_phases, floating_notes, open_on, passes_of
from haloquant.api.progress import Progress, reporting, tracked
from haloquant.dvfs.schedule import Policy
from haloquant.errors import InfeasibleError
from haloquant.jobs.machines import systems
from haloquant.jobs.machines.systems import QuantizedModel

Order = Literal["all", "serpentine", "panel", "colblock", "islands", "none"]


@dataclass(frozen=True)
class PolicyComparison:
    """HALO's passes under different orders of the tiles."""

    model: str
    profile: str
    machine: Target
    rows: tuple[PolicyRow, ...]
    """One row per phase and policy; times in seconds, energies in joules."""
    simulations: tuple[Simulation, ...]
    """One for every row that the machine can run."""
    notes: tuple[str, ...]


def schedule(
    model: str | Path,
    target: str | Path = "edge_lpddr5x",
    *,
    policy: Order = "all",
    profile: str | Path = "default",
    prefill_tokens: int = 2048,
    context_tokens: int = 2048,
    batch: int = 1,
    fast_share: float = 0.8,
    progress: Progress = True,
) -> PolicyComparison:
    """Simulate HALO under different orders of the tiles: the number of clock transitions of each, and their cost.

    Args:
        model: As in `simulate`.
        target: As in `simulate`.
        policy: One order ("serpentine", "panel", "colblock", "islands", "none"), or "all" of them.
        profile: As in `simulate`.
        prefill_tokens: As in `simulate`.
        context_tokens: As in `simulate`.
        batch: As in `simulate`.
        fast_share: As in `simulate`.
        progress: As in `simulate`.

    Returns:
        One row per phase and order. With "all", an order that the machine cannot run has a row that says why.

    Raises:
        InputError: As in `simulate`.
        InfeasibleError: The machine cannot run the one order that was named.

    Example:
        ```python
        from haloquant.api import schedule

        for row in schedule("llama2-7b", "tpuv4i_like").rows:
            print(row.phase, row.policy, row.transitions, f"{row.time_s * 1e3:.2f} ms")
        ```
    """
    check_choice("policy", policy, get_args(Order))
    check_phases(prefill_tokens, context_tokens, batch, fast_share)
    wanted = list(Policy) if policy == "all" else [Policy(policy)]
    rows: list[PolicyRow] = []
    simulations: list[Simulation] = []
    with reporting(progress) as report:
        machine, loaded = open_on(model, target, profile, fast_share)
        passes = passes_of(loaded, prefill_tokens, context_tokens, batch)
        for workload in tracked(passes, report, "schedule"):
            found, made = _orders(loaded, workload, machine, wanted, alone=policy != "all")
            rows += found
            simulations += made
    mac, notes = loaded.classes.profile.name, floating_notes(loaded, passes[0])
    return PolicyComparison(loaded.name, mac, machine, tuple(rows), tuple(simulations), tuple(notes))


def _orders(
    loaded: QuantizedModel, workload: Workload, machine: Target, wanted: Sequence[Policy], alone: bool
) -> tuple[list[PolicyRow], list[Simulation]]:
    """Run one phase under each policy. A policy that cannot run raises if it is `alone` or if no policy can run."""
    system = systems.halo_system(loaded, workload, machine)
    rows: list[PolicyRow] = []
    simulations: list[Simulation] = []
    for policy in wanted:
        try:
            run = systems.run_system(system, workload, machine, loaded, (policy,))
        except InfeasibleError as error:
            if alone or (policy == wanted[-1] and not simulations):
                raise
            rows.append(PolicyRow(workload.phase, policy, 0, 0.0, 0.0, 0.0, str(error)))
            continue
        simulations.append(run)
        rows.append(policy_row(run))
    return rows, simulations
