"""Scaling of a quantization over workers: one and two workers of a pool and of Ray, and the machine's own limit.

    python bench/scaling.py [--model FOLDER] [--out scaling.json]          # under four minutes on an idle machine

Efficiency is T(1) / (n T(n)). It is given for the whole command, for its layers including the start of the workers, and
for the layers after the first one is done. The floor of the time of n workers is T(1) / n if each has its own core.
Threads of one core share its units, so the machine's own efficiency is measured in the same run: n plain processes
without an engine against one, which round a layer as a worker does, or only multiply matrices. No engine can exceed the
former; the efficiency relative to it is printed too. Without a model, one of 405 million random weights is made
(LLaMA-2-7B's layers, two blocks). Do not use figures from a busy machine: the load average before and after is printed.
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

BUSY_S = 5.0


def multiply():
    """Matrix products."""
    square = np.random.default_rng(0).standard_normal((256, 256), np.float32)
    return lambda: square @ square


def round_layer():
    """One layer of four million weights rounded and packed, as a worker does data-free."""
    from haloquant.jobs.quantize.forecast.machine_rates import rounding_call

    return rounding_call((2048, 2048))


KINDS = {"matrix products": multiply, "layers rounded": round_layer}


def busy(task) -> float:
    """How often in a second a process does it; all begin together."""
    kind, start_s = task
    work = KINDS[kind]()
    work()  # compiles
    time.sleep(max(0.0, start_s - time.time()))
    count, began = 0, time.monotonic()
    while time.monotonic() - began < BUSY_S:
        work()
        count += 1
    return count / (time.monotonic() - began)


def machine(kind: str, workers: int) -> float:
    """What the processor gives: the rate of `workers` processes at once over `workers` times that of one."""
    with multiprocessing.get_context("spawn").Pool(workers) as pool:
        pool.map(busy, [(kind, 0.0)] * workers, chunksize=1)  # imports, compiles
        alone = pool.apply(busy, ((kind, time.time() + 2),))
        together = sum(pool.map(busy, [(kind, time.time() + 2)] * workers, chunksize=1))
    return together / (workers * alone)


def timed(model: Path, out: Path, engine) -> tuple[dict[str, float], bytes]:
    """Seconds of one data-free quantization, and the model's bytes."""
    from haloquant.jobs.quantize.job import quantize_checkpoint
    from haloquant.jobs.quantize.request import Request
    from haloquant.lm.checkpoint.reader import open_checkpoint
    from haloquant.recipe import Recipe
    from haloquant.store.profiles import find_profile

    asked = Request(find_profile("default"), "acc-opt", Recipe(), None, "bench")
    done_s: list[float] = []

    def tell(task: str, done: int, total: int) -> None:
        if task == "quantize":
            done_s.append(time.monotonic())

    done = quantize_checkpoint(open_checkpoint(model), asked, out, tell, engine)
    layers = next(stage.seconds for stage in done.stages if stage.stage == "quantize" and not stage.kind)
    whole = {"whole": done.seconds, "layers": layers, "after the first": done_s[-1] - done_s[0]}
    return whole, (out / "halo_manifest.json").read_bytes()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path)
    parser.add_argument("--engines", nargs="+", default=["local", "ray"], choices=["local", "ray"])
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()

    from make_checkpoint import SHAPES, make

    from haloquant.jobs.engine.tasks import Engine

    load, began, many = os.getloadavg(), time.monotonic(), asked.workers
    bound = {kind: machine(kind, many) for kind in KINDS}
    seconds: dict[str, dict[str, float]] = {}
    made: set[bytes] = set()
    with tempfile.TemporaryDirectory() as room:
        model = asked.model or Path(room) / "model"
        make(Path(room) / "small", SHAPES["small"], 1 << 30)
        if asked.model is None:
            make(model, SHAPES["1gb"], 1 << 30)
        timed(Path(room) / "small", Path(room) / "warm", Engine())  # compiles and caches
        for engine in asked.engines:
            for workers in (1, many):
                name = f"{engine}, {workers}"
                seconds[name], bytes_ = timed(model, Path(room) / name, Engine(engine, workers))
                made.add(bytes_)
    efficiency = {
        engine: {
            part: seconds[f"{engine}, 1"][part] / (many * seconds[f"{engine}, {many}"][part])
            for part in ("whole", "layers", "after the first")
        }
        for engine in asked.engines
    }
    limit = bound["layers rounded"]
    result = {
        "workers": many,
        "seconds": seconds,
        "floor_s": {engine: seconds[f"{engine}, 1"]["whole"] / many for engine in asked.engines},
        "efficiency": efficiency,
        "machine_efficiency": bound,
        "efficiency_over_machine": {
            engine: {part: value / limit for part, value in parts.items()} for engine, parts in efficiency.items()
        },
        "same_bytes": len(made) == 1,
        "processor": processor(),
        "load_before": load,
        "load_after": os.getloadavg(),
        "took_s": time.monotonic() - began,
    }
    text = json.dumps(result, indent=1)
    print(text)
    if asked.out:
        asked.out.write_text(text + "\n")


def processor() -> dict[str, object]:
    """Threads this process may use, and which of them share a core."""
    siblings = set()
    for cpu in sorted(os.sched_getaffinity(0)):
        file = Path(f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list")
        siblings.add(file.read_text().strip() if file.exists() else str(cpu))
    return {"threads": len(os.sched_getaffinity(0)), "cores (threads of each)": sorted(siblings)}


if __name__ == "__main__":
    main()
