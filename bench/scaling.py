"""Scaling of a quantization over workers: wall time with one and more, and the efficiency. Prints JSON.

    python bench/scaling.py MODEL [--engine local|ray] [--workers 1 2] [--calibration none|TEXT] [--samples 8]

Efficiency is T(1) / (n T(n)). The floor of the time of n workers is T(1) / n; the machine's own is beside it: two
processes that only multiply matrices, against one, which shows what the cores themselves can give (two threads of one
core share its units; other programs take their part).
"""

import argparse
import json
import multiprocessing
import os
import tempfile
import time
from pathlib import Path

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ[name] = "1"

import numpy as np  # noqa: E402  after the thread counts


def multiply(seconds: float) -> float:
    """Matrix products in a second."""
    square = np.random.default_rng(0).standard_normal((256, 256), np.float32)
    count, began = 0, time.monotonic()
    while time.monotonic() - began < seconds:
        square @ square
        count += 1
    return count / (time.monotonic() - began)


def machine(workers: int) -> float:
    """What the cores give: products of `workers` processes at once over `workers` times those of one."""
    context = multiprocessing.get_context("spawn")
    with context.Pool(workers) as pool:
        pool.map(multiply, [0.2] * workers)
        alone = pool.apply(multiply, (3.0,))
        together = sum(pool.map(multiply, [3.0] * workers, chunksize=1))
    return together / (workers * alone)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model")
    parser.add_argument("--engine", default="local", choices=["local", "ray"])
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--calibration", default="none")
    parser.add_argument("--samples", type=int, default=8)
    parser.add_argument("--tile", type=int, default=128)
    asked = parser.parse_args()

    from haloquant.config import Hardware, Recipe
    from haloquant.lm.checkpoint import open_checkpoint
    from haloquant.pipeline import stream
    from haloquant.pipeline.engine import Engine
    from haloquant.store.profiles import find_profile

    windows = None
    if asked.calibration != "none":
        from haloquant.lm.calibration import cut_windows
        from haloquant.pipeline.inputs import model_window, read_text

        folder = Path(asked.model)
        tokens = read_text(folder, asked.calibration, "calibration").tokens
        windows = cut_windows(tokens, model_window(folder), asked.samples)
    recipe = Recipe(hardware=Hardware(tile=asked.tile))
    settings = stream.Asked(find_profile("default"), "acc-opt", recipe, windows, "bench")
    seconds: dict[int, float] = {}
    digests: set[bytes] = set()
    with tempfile.TemporaryDirectory() as room:
        stream.quantize_checkpoint(open_checkpoint(asked.model), settings, Path(room) / "warm")  # compiles and caches
        for workers in asked.workers:
            out, marks = Path(room) / str(workers), {}

            def tell(task: str, done: int, total: int, marks: dict[str, float] = marks) -> None:
                marks.setdefault(f"{task} begins", time.monotonic())
                marks[f"{task} ends"] = time.monotonic()

            began = time.monotonic()
            stream.quantize_checkpoint(open_checkpoint(asked.model), settings, out, tell, Engine(asked.engine, workers))
            seconds[workers] = time.monotonic() - began
            tasks = marks["quantize ends"] - marks["choose codebooks ends"]  # starting the workers counted
            steady = marks["quantize ends"] - marks["quantize begins"]  # from the first layer that is done
            digests.add((out / "model.safetensors").read_bytes())
            print(json.dumps({"workers": workers, "whole_s": seconds[workers], "tasks_s": tasks, "steady_s": steady}))
    first = seconds[asked.workers[0]] * asked.workers[0]
    result = {
        "engine": asked.engine,
        "whole_s": seconds,
        "efficiency": {n: first / (n * t) for n, t in seconds.items()},
        "machine_efficiency": {n: machine(n) for n in asked.workers if n > 1},
        "floor_s": {n: first / n for n in asked.workers},
        "same_bytes": len(digests) == 1,
        "cores": os.cpu_count(),
        "load": os.getloadavg(),
    }
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
