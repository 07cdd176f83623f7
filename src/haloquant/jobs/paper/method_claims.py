"""The method on the paper's machine: transitions, the sparse engine, the time of an inference. Simulated, not mixed."""

from dataclasses import dataclass, replace

import numpy as np

from haloquant.accel.results import Simulation
from haloquant.accel.target import Target
from haloquant.accel.workload.prefill_decode import decode, prefill
from haloquant.dvfs.operating_points import least_energy_point
from haloquant.dvfs.schedule import Policy
from haloquant.jobs.machines.systems import halo_system, run_system
from haloquant.jobs.paper.fair_machines import TOKENS, paper_model
from haloquant.report.paper.rows import ClaimRow
from haloquant.store.paper_figures import read_statements
from haloquant.store.profiles import PAPER_MAC, find_profile
from haloquant.store.targets import read_systolic

INFERENCES = ("llama2-13b", "opt-30b")  # whose time the text gives
SPARSE_SHARE = read_statements()["sparse-share"].value  # of the weights, at most
SPARSE_VALUES = np.arange(-127, 128)  # of the sparse part: symmetric integers of 8 bits


@dataclass(frozen=True)
class Inference:
    """HALO's bal variant of one model on the paper's machine: a prefill and a decode step, and its groups."""

    model: str
    prefill: Simulation
    decode: Simulation
    groups: int
    sparse_share: float
    """Time of the sparse engine over that of the arrays in the prefill, both alone."""
    sparse_decode_share: float


def paper_machine() -> Target:
    """Return the paper's machine; its sparse engine runs at the point of least energy that all its values meet."""
    machine = read_systolic("paper_tpu")
    point = least_energy_point(find_profile(PAPER_MAC), 0, SPARSE_VALUES, machine.points)
    return replace(machine, spmv=replace(machine.spmv, point=point))


def inferences() -> list[Inference]:
    """Return the simulated passes of the models whose time the text gives."""
    machine, found = paper_machine(), list[Inference]()
    for name in INFERENCES:
        model = paper_model(name)
        passes = [
            prefill(model.shape, TOKENS, attention=False, head_rows=TOKENS),
            decode(model.shape, TOKENS, attention=False),
        ]
        runs, shares = [], []
        for workload in passes:
            system = halo_system(model, workload, machine)
            run = run_system(system, workload, machine, model, (Policy.PANEL,))
            nonzero = sum(
                system.layer_tiles[gemm.layer].sparse_nnz * gemm.m * gemm.count
                for gemm in workload.gemms
                if gemm.layer in system.layer_tiles
            )
            alone_s = nonzero / machine.spmv.lanes * machine.spmv.point.period_s
            runs.append(run)
            shares.append(alone_s / run.time_s)
        groups = len({gemm.group for gemm in passes[1].gemms})
        found.append(Inference(name, runs[0], runs[1], groups, shares[0], shares[1]))
    return found


def method_rows(runs: list[Inference]) -> list[ClaimRow]:
    """Return the rows on transitions, on the sparse engine and on the time of an inference."""
    said = read_statements()
    first = runs[0]
    switches = first.decode.total.transitions
    longest_s = said["transition-longest"].value * 1e-6
    machine, limit = paper_machine(), said["spmv-share"].value
    engine, rows_of_array = machine.spmv, machine.array.rows
    engine_cycles = SPARSE_SHARE * rows_of_array * machine.array.columns / engine.lanes
    lanes, point = engine.lanes, f"({engine.point.voltage_v:.1f} V, {engine.point.frequency_hz / 1e9:.1f} GHz)"
    spent = switches * longest_s / (said["inference-llama2-13b"].value * 1e-3)
    rows = [
        ClaimRow(
            "method", f"only a few transitions per inference, {first.model}", "transitions", None, float(switches),
            None, "partly",
            f"{switches / first.groups:.2f} for each of {first.groups} groups of layers that may run in any order: a "
            "few per group and hundreds per pass. At the longest time that the text gives they would take "
            f"{spent:.1%} of its inference",
        ),
        ClaimRow(
            said["spmv-share"].where, f"the sparse engine takes under {100 * limit:g} % of the time, decode", "share",
            said["spmv-share"].value, first.sparse_decode_share, None,
            "partly" if first.sparse_decode_share < said["spmv-share"].value else "not reproduced",
            f"{SPARSE_SHARE:.1%} of the weights on an engine of {lanes} lanes at {point}, the point of least energy "
            "that all values meet. The text names no number of lanes; these are assumed, and chosen so that it holds "
            f"in decode. With one token the array spends {rows_of_array} cycles on a tile, because its "
            f"weights must be loaded, and the engine {engine_cycles:.2f} on the tile's sparse weights",
        ),
        ClaimRow(
            said["spmv-share"].where, f"the same, prefill of {TOKENS} tokens", "share", said["spmv-share"].value,
            first.sparse_share, None,
            "partly" if first.sparse_share < said["spmv-share"].value else "not reproduced",
            f"a tile stays for {TOKENS} tokens, so each costs the array one cycle, at up to 3.7 GHz, and the engine "
            f"{engine_cycles:.2f} cycles again, at {engine.point.frequency_hz / 1e9:.1f} GHz. Either the engine runs "
            f"beside the array and is hidden, or it needs about {lanes * first.sparse_share / limit:,.0f} lanes. The "
            "text names no number of lanes",
        ),
    ]  # fmt: skip
    for run in runs:
        paper = said[f"inference-{run.model}"].value
        ms = run.decode.time_s * 1e3
        why = (
            f"a decode step on one 128 x 128 array whose weights load while it computes; a prefill of {TOKENS} tokens "
            f"takes {run.prefill.time_s * 1e3:,.0f} ms. What an inference is, the text does not say; "
            f"{paper / ms:.1f} times our decode step would be a pass that also waits for loads"
        )
        rows.append(
            ClaimRow("results", f"time of one inference, {run.model}", "ms", paper, ms, None, "not reproduced", why)
        )
    return rows
