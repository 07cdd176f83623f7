"""Time the simulation of 256 weights x 65,536 activation transitions, and Icarus on one weight. Prints JSON.

    python bench/simulate.py LIBERTY(.lib or .lib.gz) [booth|array|dadda]

It uses two worker threads. On a shared machine the wall-clock time `wall_s` includes waiting, so `cpu_s` (the CPU time
of all threads), half of it (the time on two idle cores) and the load of the machine are also given. Icarus simulates
all transitions of one weight with the same delays (module paths, the largest over the conditions); its time for
compiling and running is extrapolated to all weights. The goal is 60 s on two cores, that is 120 CPU seconds, for 500
gates, and 100 times the speed of Icarus.
"""

import gzip
import json
import os
import resource
import sys
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from haloquant.circuits.characterization import typical_conditions
from haloquant.circuits.liberty.parser import parse_liberty
from haloquant.circuits.netlist.parser import parse_netlist
from haloquant.circuits.ports import weight_values
from haloquant.circuits.rtl.generator import MacSpec, generate, ports_of
from haloquant.circuits.simulation.engine import Domains, run_program
from haloquant.circuits.simulation.program import build_program
from haloquant.circuits.simulation.stimuli import activation_stimuli
from haloquant.circuits.simulation.value_table import annotate_netlist, last_edge_fs, simulate_values
from haloquant.circuits.simulation.waveforms import Filter
from haloquant.circuits.timing.static_timing import static_delays
from haloquant.eda.crosscheck.icarus import find_icarus, icarus_version, run_verilog
from haloquant.eda.crosscheck.timed_verilog import bench_verilog, timed_verilog, vectors, without_conditions
from haloquant.eda.yosys import synthesize
from support.transitions import all_transitions

WEIGHT = -86
WORKERS = 2
STRUCTURES = {
    "booth": MacSpec(),
    "array": MacSpec(rows="sx", tree="array", adder="rca"),
    "dadda": MacSpec(rows="bw", tree="dadda", adder="bk"),
}


def main(path: Path, structure: str, period_s: float = 500e-12) -> dict[str, object]:
    """Synthesize a MAC, simulate all weights, and compare one weight with Icarus."""
    content = path.read_bytes()
    text = (gzip.decompress(content) if path.suffix == ".gz" else content).decode()
    library = parse_liberty(text, path.name)
    spec = STRUCTURES[structure]
    mapped = synthesize(generate(spec), path, period_s)
    netlist = parse_netlist(mapped.json_text, library, ports_of(spec))
    around = typical_conditions(library)
    simulate_values(netlist, library, np.array([3], np.int16), conditions=around)  # compile
    wall, cpu = time.perf_counter(), time.process_time()
    found = simulate_values(netlist, library, conditions=around, workers=WORKERS)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    static = static_delays(netlist, library, None, around)
    report: dict[str, object] = {
        "library": library.name,
        "unit": spec.name,
        "gates": len(netlist.gates),
        "weights": int(found.weights.size),
        "transitions_each": 65536,
        "workers": WORKERS,
        "wall_s": round(wall, 1),
        "floor_wall_s": 60.0,
        "cpu_s": round(cpu, 1),
        "cpu_s_a_worker": round(cpu / WORKERS, 1),
        "cores": os.cpu_count(),
        "load_average_1_minute": round(os.getloadavg()[0], 1),
        "edges_per_operation": round(float(found.toggles[0].mean()), 1),
        "slowest_sensitised_ps": round(found.delay_s.max() * 1e12, 2),
        "slowest_static_ps": round(static.max() * 1e12, 2),
        "worst_sensitised_over_static": round(float((found.delay_s / np.maximum(static, 1e-15)).max()), 6),
        "mean_energy_fj": round(float(found.energy_j[0].mean()) * 1e15, 2),
    }
    return report | _icarus(netlist, library, around, cpu, weight_values(netlist.ports).size)


def _icarus(netlist, library, around, cpu_all: float, weights: int) -> dict[str, object]:
    tool = find_icarus()
    gates = without_conditions(annotate_netlist(netlist, library, np.array([WEIGHT], np.int16), around))
    pairs = all_transitions(8)
    settle_fs = 2 * int(gates.delay_fs.max()) * 40
    files = {
        "mac.v": timed_verilog(gates, 0, Filter.SAMPLED),
        "bench.v": bench_verilog(gates, pairs[0].size, settle_fs),
        "vectors.txt": vectors(gates, pairs),
    }
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
    rows = [line.split() for line in run_verilog(tool, files, limit_s=1800.0)["arrivals.txt"].splitlines()]
    cpu = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before
    theirs = np.array([int(row[0]) for row in rows])
    values = np.array([int(row[1], 16) for row in rows])
    mask = (1 << gates.result.size) - 1
    compared: dict[str, object] = {}
    for filtering in Filter:
        domains = Domains(activation_stimuli(8))
        latest = np.zeros(65536, np.int64)

        def visit(_, lanes, domains=domains, latest=latest) -> None:
            for net in lanes.values():
                shown = last_edge_fs(net.waveforms)[net.ids][domains.lane_map(255, net.domain)]
                np.maximum(latest, shown, out=latest)

        run_program(build_program(gates), domains, [0], gates.result, filtering, visit)
        compared[f"same_arrival_{filtering.name.lower()}"] = float((latest == theirs).mean())
        compared[f"slowest_ps_{filtering.name.lower()}"] = round(float(latest.max()) / 1e3, 3)
    return {
        "icarus": icarus_version(tool),
        "icarus_weight": WEIGHT,
        "icarus_cpu_s_one_weight": round(cpu, 1),
        "icarus_same_final_values": float((values == (WEIGHT * pairs[1].astype(int)) & mask).mean()),
        "icarus_slowest_ps": round(float(theirs.max()) / 1e3, 3),
        **compared,
        "times_faster_than_icarus": round(cpu * weights / cpu_all, 1),
        "floor_times": 100.0,
    }


if __name__ == "__main__":
    print(json.dumps(main(Path(sys.argv[1]), sys.argv[2] if len(sys.argv) > 2 else "booth"), indent=2))
