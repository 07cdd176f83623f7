"""The Triton kernels in their interpreter (no accelerator needed), and compiled for one without running.

The interpreter has to be chosen before Triton is imported, so one process of its own runs all cases.
"""

import json
import os
import subprocess
import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path

import pytest

triton = pytest.importorskip("triton")

CASES = """
import sys; sys.path[:0] = ["tests"]
import numpy as np, torch
from support.halo_layers import random_layer
from support.packed_layers import BOOKS, view
from haloquant.kernels import fallback
from haloquant.kernels.triton import launch

launch.PROGRAMS = 4  # so that a program runs through several tiles
shapes = [((130, 172, 64), "two", 0.02), ((32, 256, 128), "nine", 0), ((37, 41, (32, 16)), "bytes", 0.02)]
generator = np.random.default_rng(3)
for (out, width, tile), books, sparse in shapes:
    layer = view(random_layer(out, width, tile, BOOKS[books], 1, sparse))
    weight = fallback.dequantize(layer).double()
    cases = ((1, torch.float32), (3, torch.float32), (17, torch.float32), (2, torch.bfloat16), (17, torch.bfloat16))
    for count, dtype in cases:
        x = torch.from_numpy(generator.normal(0, 1, (count, width))).to(dtype)
        exact, size = x.double() @ weight.T, x.double().abs() @ weight.abs().T
        y = launch.linear(x, layer)
        assert y.dtype == dtype and y.shape == (count, out)
        # bfloat16 rounds to 2^-9 four times at most: the weight, its sparse part, the product's sum and the result.
        bound = 1e-6 if dtype == torch.float32 else 4 * 2**-9
        worst = ((y.double() - exact).abs() / (size + 1e-12)).max().item()
        assert worst <= bound, (out, width, tile, books, sparse, count, dtype, worst)
    assert torch.equal(launch.dequantize(layer), fallback.dequantize(layer))
    x, launch.MOST_BLOCK_WEIGHTS = torch.from_numpy(generator.normal(0, 1, (9, width))).float(), 2 * width * 32
    assert ((launch.linear(x, layer) - x.double() @ weight.T).abs() <= 1e-6 * (x.double().abs() @ weight.abs().T)).all()
    launch.MOST_BLOCK_WEIGHTS = 1 << 27
    tokens = torch.from_numpy(generator.integers(-127, 128, (2, width)).astype(np.int8))
    assert torch.equal(launch.integer_tile_sums(tokens, layer), fallback.integer_tile_sums(tokens, layer))
    # Two launches, of seven tokens and of two. Whole numbers are exact. A float product is numpy's here, and a BLAS may
    # round a row otherwise in another place of a block. A term passes through at most `steps` roundings: its product,
    # the sum of its tile, the scale, the sum of tiles, the sparse part. So each result errs by steps * eps / 2 at most.
    x, reach = torch.from_numpy(generator.normal(0, 1, (9, width))).float(), launch.MOST_OFFSET
    tokens, scale = torch.from_numpy(generator.integers(-127, 128, (9, width)).astype(np.int8)), torch.rand(9)
    whole, size, steps = launch.linear(x, layer), x.double().abs() @ weight.abs().T, width + layer.grid.across + 3
    wanted = fallback.integer_linear(tokens, scale, layer)
    assert torch.equal(launch.integer_linear(tokens, scale, layer), wanted)
    launch.MOST_OFFSET = 7 * max(out, width)
    assert ((launch.linear(x, layer) - whole).abs() <= steps * torch.finfo(torch.float32).eps * size).all()
    assert torch.equal(launch.integer_linear(tokens, scale, layer), wanted)
    launch.MOST_OFFSET = reach
    for count in (2, 5):
        tokens = torch.from_numpy(generator.integers(-127, 128, (count, width)).astype(np.int8))
        scale = torch.rand(count)
        wanted = fallback.integer_linear(tokens, scale, layer)
        assert torch.equal(launch.integer_linear(tokens, scale, layer), wanted)
    broken = torch.ones(1, width)
    broken[0, 3] = float("inf")
    assert not launch.linear(broken, layer).isfinite().any()  # an infinity is not lost among whole numbers
    assert launch.linear(torch.zeros(1, width), layer).eq(0).all()
    far = torch.ones(1, width) * 1e-3
    far[0, ::64] = 1e30  # beside it, the small ones of the same tile are rounded off, and nothing else
    limit = 1e-6 * far.abs().max() * weight.abs().sum(1)
    assert ((launch.linear(far, layer) - far.double() @ weight.T).abs() <= limit).all()
print("all agree")
"""


def run(code: str, arguments: Sequence[str] = (), **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "ignore", "-c", textwrap.dedent(code), *arguments],
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


INSTRUCTIONS = Path(__file__).parents[4] / "bench/gpu/instructions.py"
TOOLS = [Path(triton.__file__).parent / "backends/nvidia/bin" / name for name in ("ptxas", "nvdisasm", "cuobjdump")]


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.skipif(not all(map(Path.exists, TOOLS)), reason="Triton's wheel has no ptxas, nvdisasm and cuobjdump here")
@pytest.mark.parametrize("capability", [80, 90])
def test_machine_code_keeps_codebooks_in_registers_and_spills_nothing(capability, tmp_path) -> None:
    """Read in the machine code, without a device; what it computes is the interpreter's business.

    In prefill a thread decodes 32 weights a tile, in decode 256: a handful of loads from the codebook is a tile's, not
    a weight's (Triton loads some tiles ahead, which repeats them). Bounds are a quarter above what was counted.
    """
    done = run(
        INSTRUCTIONS.read_text(), ["--capability", str(capability), "--ways", "64", "1"], TRITON_CACHE_DIR=str(tmp_path)
    )
    assert done.returncode == 0, done.stderr[-3000:]
    rows = {row["kernel"]: row for row in json.loads(done.stdout)["capabilities"][str(capability)]}
    assert len(rows) == 10
    assert all(row["spilled"] == 0 and row["registers"] <= 255 for row in rows.values())
    assert all(1 <= row["codebook_loads"] <= 16 for row in rows.values() if "codebook_loads" in row)
    most = {
        "sixteen words, bfloat16": 4.1,
        "sixteen words, int8": 2.6,
        "nine words, bfloat16": 8,
        "nine words, int8": 6,
    }
    found = {name: rows[f"decode, {name}"]["instructions_per_weight"] for name in most}
    assert all(1 < found[name] <= most[name] for name in most), found
