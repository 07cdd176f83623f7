"""Matrix products whose bits do not depend on the number of threads, beside the same products by the BLAS itself.

    python bench/linear_algebra.py [--repeats 5]

Prints JSON: per shape (m, k, n) and number of threads the median time of both in seconds, their ratio, and the floor:
the time that this shape would take at the highest rate that the BLAS reached with any of the shapes.
"""

import argparse
import json
import time
from collections.abc import Callable

import numpy as np
from threadpoolctl import threadpool_limits

from haloquant.quant.rounding.linear_algebra import product

SHAPES = (
    (4096, 4096, 128), (4096, 128, 4096), (4096, 128, 11008), (11008, 128, 4096), (2048, 2048, 2048), (576, 1536, 576),
)  # fmt: skip


def times_s(call: Callable[[], object], repeats: int) -> list[float]:
    """Return the seconds of each call. The pause lets BLAS threads that still wait for work go to sleep."""
    time.sleep(0.3)
    taken: list[float] = []
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        taken.append(time.perf_counter() - start)
    return taken


def main() -> None:
    """Measure all shapes with one and two threads and print the JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    repeats = parser.parse_args().repeats
    rng = np.random.default_rng(0)
    rows: list[dict[str, object]] = []
    for threads in (1, 2):
        measured: list[tuple[tuple[int, int, int], float, float]] = []
        with threadpool_limits(threads, user_api="blas"):
            for m, k, n in SHAPES:
                a = rng.standard_normal((m, k)).astype(np.float32)
                b = rng.standard_normal((k, n)).astype(np.float32)
                blas: list[float] = []
                own: list[float] = []
                for _ in range(3):
                    blas += times_s(lambda a=a, b=b: np.matmul(a, b), repeats)
                    own += times_s(lambda a=a, b=b: product(a, b), repeats)
                measured.append(((m, k, n), float(np.median(blas)), float(np.median(own))))
        rate = max(2 * m * k * n / blas_s for (m, k, n), blas_s, _ in measured)
        rows += [
            {
                "shape": list(shape), "threads": threads, "blas_s": blas_s, "own_s": own_s, "ratio": own_s / blas_s,
                "floor_s": 2 * shape[0] * shape[1] * shape[2] / rate,
            }
            for shape, blas_s, own_s in measured
        ]  # fmt: skip
    print(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
