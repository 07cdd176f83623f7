"""Static timing of all 256 weight values beside OpenSTA's 256 case analyses, and reading Liberty. Prints JSON.

    python bench/sta.py <folder with liberty/*> [--skip-opensta]

Ratios are of CPU time in one run, because the machine may be shared. OpenSTA runs all values in one process, and the
time of its start and of reading the library is subtracted. The floor of our timing is one multiply-add for each arc,
pair of edges and weight; the floor of the parser is `float` on every number of every table. The 12 MB library is the
trimmed sky130 file with its cells repeated under other names up to the size of the complete file.
"""

import argparse
import json
import re
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from haloquant.circuits.liberty.parser import parse_liberty
from haloquant.circuits.netlist.parser import Netlist, parse_netlist
from haloquant.circuits.ports import weight_values
from haloquant.circuits.rtl.generator import MacSpec, generate, ports_of
from haloquant.circuits.timing.conditions import Conditions
from haloquant.circuits.timing.reference.delays import reference_delay
from haloquant.circuits.timing.static_timing import static_delays
from haloquant.eda.crosscheck.opensta import OpenSta, case_delays, find_opensta
from haloquant.eda.yosys import synthesize
from haloquant.errors import ToolError
from haloquant.store.cell_libraries import liberty_text, read_library

LIBRARIES = ("nangate45/nangate45_typ", "asap7/trim_asap7_rvt_tt", "sky130hd/sky130hd_tt_025C_1v80")
SPECS = (MacSpec(), MacSpec(stage="fused"))


def seconds(work: Callable[[], object], times: int = 5) -> float:
    """Median processor time of a piece of work."""
    taken: list[float] = []
    for _ in range(times):
        began = time.process_time()
        work()
        taken.append(time.process_time() - began)
    return statistics.median(taken)


def of_opensta(tool: OpenSta, netlist: Netlist, text: str) -> tuple[np.ndarray, float]:
    """Return OpenSTA's delays and its CPU time for the weight values, without its start."""

    def run(count: int) -> tuple[np.ndarray, float]:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        delay = case_delays(tool, netlist, text, weight_values(netlist.ports)[:count]).delay_s
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return delay, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    _, start = run(0)
    delay, whole = run(len(weight_values(netlist.ports)))
    return delay, whole - start


def timing(folder: Path, name: str, spec: MacSpec, tools: tuple[OpenSta, ...]) -> dict[str, object]:
    """One MAC in one library: times, and how the values compare."""
    path = folder / f"{name}.lib.gz"
    text = liberty_text(path)
    library = parse_liberty(text, path.name)
    netlist = parse_netlist(synthesize(generate(spec), path, 1e-10).json_text, library, ports_of(spec))
    ours = static_delays(netlist, library)  # compiles on the first call
    theirs = static_delays(netlist, library, None, Conditions(slews="enabled"))
    took = seconds(lambda: static_delays(netlist, library))
    arcs = sum(len(library.cells[netlist.kinds[k].name].arcs) for k in netlist.gates.kind)
    operands = np.ones(arcs * 2 * len(ours))
    result: dict[str, object] = {
        "gates": len(netlist.gates),
        "arcs": arcs,
        "all_values_s": took,
        "floor_s": seconds(lambda: operands * 0.5 + operands),
        "slow_twin_s": seconds(lambda: reference_delay(netlist, library, -86), 1) * len(ours),
        "target_s": 1.0,
    }
    for tool in tools:
        judge, judge_s = of_opensta(tool, netlist, text)
        moving = judge > 0
        ratio, same = ours[moving] / judge[moving], theirs[moving] / judge[moving]
        result[f"opensta {tool.version}"] = {
            "values_s": judge_s,
            "times_faster": judge_s / took,
            "target_times": 50,
            "share_within_1_percent": float((np.abs(ratio - 1) < 0.01).mean()),
            "ratio_mean_min_max": [float(ratio.mean()), float(ratio.min()), float(ratio.max())],
            "with_its_slews_mean_min_max": [float(same.mean()), float(same.min()), float(same.max())],
        }
    return result


def whole_size(text: str, target: int = 12_000_000) -> str:
    """A library with its cells repeated under new names until it has about `target` characters."""
    first = text.index("  cell (")
    head, cells, tail = text[:first], text[first : text.rindex("}")], "}\n"
    copies = [cells]
    while sum(map(len, copies)) < target:
        copies.append(re.sub(r"cell \(\"?(\w+)\"?\)", rf"cell (\1_{len(copies)})", cells))
    return head + "".join(copies) + tail


def parsing(folder: Path) -> dict[str, object]:
    """Reading libraries: as they are, at the size of a whole sky130, and from the cache."""
    results: dict[str, object] = {}
    with tempfile.TemporaryDirectory() as place:
        for name in LIBRARIES:
            path = folder / f"{name}.lib.gz"
            text = liberty_text(path)
            read_library(path, Path(place))
            results[name] = {
                "megabytes": len(text) / 1e6,
                "parse_s": seconds(lambda t=text: parse_liberty(t), 3),
                "cached_s": seconds(lambda p=path: read_library(p, Path(place)), 3),
                "floor_s": seconds(lambda t=text: _numbers(t), 3),
            }
        big = Path(place) / "sky130_whole.lib"
        big.write_text(whole_size(liberty_text(folder / f"{LIBRARIES[2]}.lib.gz")))
        text = big.read_text()
        read_library(big, Path(place))
        results["sky130 at 12 MB"] = {
            "megabytes": len(text) / 1e6,
            "parse_s": seconds(lambda: parse_liberty(text), 3),
            "target_s": 3.0,
            "cached_s": seconds(lambda: read_library(big, Path(place)), 3),
            "floor_s": seconds(lambda: _numbers(text), 3),
        }
    return results


def _numbers(text: str) -> int:
    """Convert every number of every `values` and `index`, and nothing else."""
    found = re.findall(r"(?:values|index_\d) ?\(([^)]*)\)", text)
    return sum(
        len([float(w) for w in part.replace('"', " ").replace(",", " ").replace("\\", " ").split()]) for part in found
    )


def main() -> None:
    """Print everything as JSON."""
    parser = argparse.ArgumentParser()
    parser.add_argument("liberty", type=Path, help="folder with nangate45/, asap7/ and sky130hd/")
    parser.add_argument("--skip-opensta", action="store_true")
    asked = parser.parse_args()
    try:
        tools = () if asked.skip_opensta else find_opensta()
    except ToolError as error:
        print(error, file=sys.stderr)
        tools = ()
    results = {
        "liberty": parsing(asked.liberty),
        "timing": {
            f"{name} {spec.name}": timing(asked.liberty, name, spec, tools) for name in LIBRARIES for spec in SPECS
        },
    }
    print(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
