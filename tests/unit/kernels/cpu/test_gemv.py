"""The compiled product with one token: plain loops and vector instructions, and a processor without these."""

import os
import subprocess
import sys
import textwrap

import numpy as np
import pytest

from haloquant.kernels.cpu import gemv, tile_products
from support.packed_layers import KINDS, layer, tokens

# Behind whole tiles stand 0, 1, 3 and 44 inputs, for plain loops, and 32, 64 and 96, for the code of `tile_products`.
SHAPES = [
    (384, 256, 128), (1, 1, 128), (300, 515, 128), (130, 172, 128), (70, 256, (23, 128)), (150, 160, 128),
    (96, 192, 128), (130, 224, 128), (5, 32, 128),
]  # fmt: skip


@KINDS
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.skipif(not gemv.FAST, reason="needs a CPU with AVX-512")
def test_products_agree_with_plain_loops(shape, books) -> None:
    packed = layer(shape, books)[1]
    assert packed.grid.tile_in == gemv.WIDTH
    x = tokens(1, shape[1]).numpy()
    y = np.empty((2, shape[0]), np.float32)
    gemv.gemv(x[0], *packed.arrays, y=y[0])
    tile_products.float_products(x, *packed.arrays, vectors=False, y=y[1:])
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
