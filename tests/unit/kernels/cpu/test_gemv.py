"""The compiled product with one token: plain loops and vector instructions, and a processor without these."""

import os
import subprocess
import sys
import textwrap

import numpy as np
import pytest

from haloquant.kernels.cpu import gemv
from support.packed_layers import CASES, KINDS, layer, tokens


@KINDS
@CASES
def test_plain_loops_and_vector_kernels_agree(shape, books) -> None:
    packed = layer(shape, books)[1]
    x = tokens(1, shape[1])[0].numpy()
    y = np.empty((2, shape[0]), np.float32)
    for fast in (0, 1):
        gemv.gemv(x, *packed.arrays, gemv.FAST and bool(fast), y[fast])
    assert np.allclose(y[0], y[1], rtol=1e-5, atol=1e-6 * np.abs(y).max())


@pytest.mark.seldom
@pytest.mark.slow
def test_a_cpu_without_the_vector_instructions_computes_the_same() -> None:
    code = """
    import sys; sys.path[:0] = ["tests"]
    import torch
    from haloquant.kernels import dispatch, fallback
    from haloquant.kernels.cpu import tile_products
    from support.packed_layers import layer, tokens
    packed = layer((384, 256, 128), "two")[1]
    x = tokens(1, 256)
    error = (dispatch.linear(x, packed) - fallback.linear(x, packed)).abs().max()
    print(tile_products.VECTORS, bool(error < 1e-5))
    """
    environment = os.environ | {"NUMBA_CPU_NAME": "x86-64"}  # numba keeps the code of each CPU apart
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, env=environment, timeout=250
    )
    assert done.stdout.split() == ["False", "True"], done.stderr


def test_every_half_is_read_as_numpy_reads_it() -> None:
    bits = np.arange(65536, dtype=np.uint16)
    finite = bits[np.isfinite(bits.view(np.float16))]
    found = np.array([gemv.half(b) for b in finite], np.float32)
    assert np.array_equal(found.view(np.uint32), finite.view(np.float16).astype(np.float32).view(np.uint32))
