"""Products and factors: their values, and the same bits on any number of threads with each of OpenBLAS's kernels."""

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import threadpoolctl
from scipy.linalg import LinAlgError

from haloquant.quant.rounding.blas_threads import band_workers
from haloquant.quant.rounding.linear_algebra import product, upper_factor
from support.draws import daily
from support.quant_twins import random_statistics

# OpenBLAS's name of a kernel set, and the processor's flag that it needs.
KERNELS = {"Nehalem": "sse4_2", "Sandybridge": "avx", "Haswell": "avx2", "SkylakeX": "avx512f"}

# Rows in bands, columns in bands, one band, an inner dimension that a BLAS cuts, vectors, transposed views, a factor.
PROGRAM = """
import hashlib, json, sys
import numpy as np
from threadpoolctl import threadpool_info, threadpool_limits
from haloquant.quant.rounding.linear_algebra import product, upper_factor

rng = np.random.default_rng(0)
draw = lambda *shape: rng.standard_normal(shape).astype(np.float32)
pairs = [(draw(m, k), draw(k, n)) for m, k, n in json.loads(sys.argv[1])]
pairs.append((draw(1300, 700)[:, 100:], draw(90, 600).T))
inputs = draw(1300, 700)
hessian = inputs.T @ inputs / np.float32(len(inputs))
said = []
for threads in (1, 2, 4):
    with threadpool_limits(threads, user_api="blas"):
        blas = [(seen["architecture"], seen["num_threads"]) for seen in threadpool_info() if seen["user_api"] == "blas"]
        made = [product(a, b) for a, b in pairs] + [upper_factor(hessian)]
    said.append({"blas": blas, "bits": [hashlib.sha256(array.tobytes()).hexdigest() for array in made]})
print(json.dumps(said))
"""
SHAPES = [(300, 1100, 128), (1300, 600, 128), (96, 600, 1300), (1, 3000, 1100), (1300, 3000, 1), (40, 7, 30)]


def flags() -> set[str]:
    """What this processor can do, as Linux says."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return set()
    return {flag for line in lines if line.startswith("flags") for flag in line.split()}


@pytest.mark.slow
@pytest.mark.thinned
@pytest.mark.parametrize("kernels", daily(KERNELS, ["Nehalem", "SkylakeX"]))
def test_the_same_bits_on_any_number_of_threads(kernels: str) -> None:
    if KERNELS[kernels] not in flags():
        pytest.skip(f"{kernels} kernels need a processor with {KERNELS[kernels]}")
    asked = {name: value for name, value in os.environ.items() if not name.endswith("_NUM_THREADS")}
    asked["OPENBLAS_CORETYPE"] = kernels
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, json.dumps(SHAPES)], env=asked, check=True, capture_output=True, text=True
    )
    said = json.loads(done.stdout)
    for threads, seen in zip((1, 2, 4), said, strict=True):
        assert len(seen["blas"]) >= 2  # numpy's and scipy's
        assert {name.lower() for name, _ in seen["blas"]} == {kernels.lower()}
        assert {count for _, count in seen["blas"]} == {threads}
        assert seen["bits"] == said[0]["bits"]


@pytest.mark.parametrize(("m", "k", "n"), SHAPES)
@pytest.mark.parametrize("threads", [1, 2])
def test_product(m: int, k: int, n: int, threads: int) -> None:
    rng = np.random.default_rng(m)
    a, b = rng.standard_normal((m, k)).astype(np.float32), rng.standard_normal((k, n)).astype(np.float32)
    with threadpoolctl.threadpool_limits(threads, user_api="blas"):
        got = product(a, b)
    wide, other = a.astype(np.float64), b.astype(np.float64)
    bound = k * np.finfo(np.float32).eps * (np.abs(wide) @ np.abs(other))  # k roundings, in whatever order
    assert np.all(np.abs(got - wide @ other) <= bound)


def test_upper_factor() -> None:
    hessian = random_statistics(7, 4, 300, 700).hessian
    factor = upper_factor(hessian)
    assert np.array_equal(factor, np.triu(factor))
    # A backward stable factor R of n rows has |R R^T - H| <= (n + 1) eps |R| |R|^T (Higham, theorem 10.3).
    wide = factor.astype(np.float64)
    assert np.all(np.abs(wide @ wide.T - hessian) <= 301 * np.finfo(np.float32).eps * (np.abs(wide) @ np.abs(wide).T))
    want = np.linalg.cholesky(hessian[::-1, ::-1].astype(np.float64))[::-1, ::-1]
    assert np.allclose(factor, want, atol=1e-4 * np.abs(want).max())
    with pytest.raises(LinAlgError):
        upper_factor(-np.eye(5, dtype=np.float32))


def test_callers_in_several_python_threads_get_the_same_bits_and_leave_the_threads_as_they_were() -> None:
    rng = np.random.default_rng(5)
    a, b = rng.standard_normal((1300, 600)).astype(np.float32), rng.standard_normal((600, 128)).astype(np.float32)
    libraries = threadpoolctl.ThreadpoolController().select(user_api="blas").lib_controllers
    with threadpoolctl.threadpool_limits(1, user_api="blas"):
        want = product(a, b)
    seen: list[set[int]] = []

    def call(_: int) -> np.ndarray:
        with band_workers():
            seen.append({library.get_num_threads() for library in libraries})
        return product(a, b)

    with threadpoolctl.threadpool_limits(2, user_api="blas"):
        with ThreadPoolExecutor(4) as callers:
            assert all(np.array_equal(got, want) for got in callers.map(call, range(40)))
        assert seen == [{1}] * 40
        assert {library.get_num_threads() for library in libraries} == {2}
        with pytest.raises(LinAlgError):
            upper_factor(-np.eye(5, dtype=np.float32))
        assert {library.get_num_threads() for library in libraries} == {2}
