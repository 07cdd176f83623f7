"""Whole 70B passes on one core: tiles from shapes, schedule, simulation, prefill and decode. Prints JSON.

Counted are CPU seconds of this process (the machine may be shared) from the model's shape to the finished simulation of
both passes; starting Python and importing are given apart (`imports_s`) and together (`process_s`, of a fresh process
that does both passes once and nothing twice). `rows` runs prefills of more and more tokens: time must not grow with
them. The floor beside each time is what looking once at every distinct tile costs (the sum of its histogram).

    python bench/accel.py [model ...]
"""

import json
import resource
import sys
import time
from dataclasses import replace

import numpy as np

from haloquant.accel.shapes import named_shape
from haloquant.accel.simulate import simulate
from haloquant.accel.synthetic import ClassMix, Encoding, gaussian_frequency, synthetic_workload
from haloquant.accel.workload import Workload, decode, prefill
from haloquant.dvfs.schedule import plan
from haloquant.store.targets import read_systolic
from haloquant.types import Corner, MacProfile

clock = time.process_time  # counts from the start of the process
IMPORTED_S = clock()
ROWS = (512, 2048, 8192, 32768)
WEIGHTS = np.arange(-128, 128, dtype=np.int16)
FAST = np.array([-128, 0, 1, 2, 4, 8, 16, 32, 64], np.int16)
SLOW = np.arange(-128, 128, 16, dtype=np.int16)


def profile() -> MacProfile:
    """A made-up profile: its figures do not matter to the time taken."""
    energy = (50e-15 + 1e-15 * np.abs(WEIGHTS.astype(np.float64)))[None, :]
    corners = (Corner("bench", 1.0, 25.0),)
    delay = np.full((1, 256), 5e-10)
    return MacProfile("bench", "made up", WEIGHTS, corners, delay, delay, energy, np.array([1e-6]), 1e-9)


def mix(all_values: float, slow: float, fast: float) -> list[ClassMix]:
    """Tiles by class: all 256 values, 16 values, 9 values."""
    shares = zip((all_values, slow, fast), (WEIGHTS, SLOW, FAST), strict=True)
    return [ClassMix(share, values, gaussian_frequency(values)) for share, values in shares]


def one(workload: Workload) -> dict[str, float]:
    """Seconds of each stage for one pass."""
    paper, unit = read_systolic("paper_tpu"), profile()
    target = replace(read_systolic("tpuv4i_like"), points=paper.points, array=replace(paper.array, count=4))
    start = clock()
    tiles = synthetic_workload(workload, 128, 128, mix(0, 0.2, 0.8), Encoding(), mix(1, 0, 0), Encoding(8.0))
    made = clock()
    schedule = plan(workload.gemms, tiles, target.points, target.base, accumulator_bytes=target.accumulator_b)
    planned = clock()
    result = simulate(workload, tiles, schedule, target, unit)
    done = clock()
    for histogram in {id(made.histogram): made.histogram for made in tiles.values()}.values():
        histogram.sum()
    floor = clock() - done
    return {
        "tiles": sum(layer.tiles for layer in result.layers),
        "distinct_tiles": sum({id(made.classes): made.classes.size for made in tiles.values()}.values()),
        "segments": len(result.segments),
        "tiles_from_shapes_s": made - start,
        "plan_s": planned - made,
        "simulate_s": done - planned,
        "total_s": done - start,
        "floor_s": floor,
        "pass_time_s": result.time_s,
        "transitions": schedule.transitions,
    }


def main() -> None:
    """Run every model named, a 70B by default."""
    report: dict[str, object] = {"imports_s": IMPORTED_S}
    for name in sys.argv[1:] or ["llama2-70b"]:
        shape = named_shape(name)
        rounds = [{w.phase: one(w) for w in (decode(shape, 2048), prefill(shape, 2048))} for _ in range(5)]
        if len(report) == 1:
            report["process_s"] = IMPORTED_S + sum(made["total_s"] for made in rounds[0].values())
        sums = sorted(sum(made["total_s"] for made in passes.values()) for passes in rounds)
        best = min(rounds, key=lambda passes: sum(made["total_s"] for made in passes.values()))
        report[name] = {
            **best,
            "both_best_s": sums[0],
            "both_median_s": sums[2],
            "target_s": 1.0,
            "rows": {tokens: min(one(prefill(shape, tokens))["total_s"] for _ in range(2)) for tokens in ROWS},
            "clock": "CPU seconds, imports not counted",
        }
    report["peak_rss_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    report["target_mb"] = 500
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
