"""The Triton kernels in their interpreter (no accelerator needed), and compiled for one without running.

The interpreter has to be chosen before Triton is imported, so one process of its own runs all cases.
"""

import os
import subprocess
import sys
import textwrap

import pytest

pytest.importorskip("triton")

CASES = """
import sys; sys.path[:0] = ["tests", "tests/unit"]
import numpy as np, torch
from halo_layers import random_layer
from test_kernels import BOOKS, view
from haloquant.kernels import gpu, reference

gpu.PROGRAMS = 8
shapes = [((130, 172, 64), "two"), ((32, 256, 128), "nine"), ((37, 41, (32, 16)), "bytes")]
generator = np.random.default_rng(3)
for (out, width, tile), books in shapes:
    for sparse in (0, 0.02):
        layer = view(random_layer(out, width, tile, BOOKS[books], 1, sparse))
        weight = reference.dequantize(layer).double()
        for count, dtype in ((1, torch.float32), (3, torch.float32), (17, torch.float32), (2, torch.bfloat16)):
            x = torch.from_numpy(generator.normal(0, 1, (count, width))).to(dtype)
            exact, size = x.double() @ weight.T, x.double().abs() @ weight.abs().T
            y = gpu.linear(x, layer)
            assert y.dtype == dtype and y.shape == (count, out)
            bound = 1e-6 if dtype == torch.float32 else 0.005
            worst = ((y.double() - exact).abs() / (size + 1e-12)).max().item()
            assert worst <= bound, (out, width, tile, books, sparse, count, dtype, worst)
        tokens = torch.from_numpy(generator.integers(-127, 128, (2, width)).astype(np.int8))
        assert torch.equal(gpu.integer_tile_sums(tokens, layer), reference.integer_tile_sums(tokens, layer))
        for count in (2, 5):
            tokens = torch.from_numpy(generator.integers(-127, 128, (count, width)).astype(np.int8))
            scale = torch.rand(count)
            wanted = reference.integer_linear(tokens, scale, layer)
            assert torch.equal(gpu.integer_linear(tokens, scale, layer), wanted)
print("all agree")
"""

COMPILE = """
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from haloquant.kernels import gpu_code

target = GPUTarget("cuda", 90, 32)
stored = {"packed": "*u8", "scale": "*fp16", "classes": "*u8", "offsets": "*i64", "table": "*fp32", "counts": "*i32"}
sizes = {"TILE_OUT": 128, "TILE_IN": 128, "COLS": 128, "WORDS": 16, "FULL": True, "ROWS": 32}
n = "i32"
features = {"out_features": n, "in_features": n, "across": n}
jobs = [
    (gpu_code.gemv_kernel, {"x": "*bf16", **stored, "y": "*fp32", **features, "each": n, "splits": n},
     sizes | {"WHOLE": False}),
    (gpu_code.gemv_kernel, {"x": "*i8", **stored, "y": "*i32", **features, "each": n, "splits": n},
     sizes | {"WHOLE": True}),
    (gpu_code.gather_kernel, {"parts": "*fp32", "x": "*bf16", "row_ptr": "*i32", "col": "*i16", "value": "*i8",
                          "sparse_scale": "*fp16", "y": "*bf16", "out_features": n, "in_features": n, "splits": n},
     {"SPARSE": True, "WIDE": False, "BLOCK": 64}),
    (gpu_code.gemm_kernel, {"x": "*bf16", **stored, "y": "*bf16", "tokens": n, **features},
     sizes | {"BLOCK": 64, "WHOLE": False}),
    (gpu_code.gemm_kernel, {"x": "*i8", **stored, "y": "*fp32", "tokens": n, **features},
     sizes | {"BLOCK": 64, "WHOLE": True}),
]
for kernel, signature, constants in jobs:
    kernel = kernel.fn if isinstance(kernel, triton.runtime.Autotuner) else kernel
    signature = signature | {name: "constexpr" for name in constants}
    done = triton.compile(ASTSource(kernel, signature, constants), target=target)
    print(kernel.fn.__name__, len(done.asm["ptx"]) > 0)
"""


def run(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        capture_output=True,
        text=True,
        env=os.environ | environment,
        timeout=850,
    )


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_interpreted_kernels_agree_with_the_reference() -> None:
    done = run(CASES, TRITON_INTERPRET="1")
    assert done.stdout.strip() == "all agree", done.stderr[-3000:]


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_kernels_compile_for_an_accelerator(tmp_path) -> None:
    """To PTX for compute capability 9.0, without a device; what they compute is the interpreter's business."""
    done = run(COMPILE, TRITON_CACHE_DIR=str(tmp_path))
    assert done.stdout.split("\n")[:-1] == [
        "gemv_kernel True",
        "gemv_kernel True",
        "gather_kernel True",
        "gemm_kernel True",
        "gemm_kernel True",
    ], done.stderr[-3000:]
