"""The Triton kernels in their interpreter (no accelerator needed), and compiled for one without running.

The interpreter has to be chosen before Triton is imported, so one process of its own runs all cases.
"""

import json
from pathlib import Path

import pytest

from support.draws import ALL, NIGHTLY
from support.own_process import run

triton = pytest.importorskip("triton")

CASES = """
import sys; sys.path[:0] = ["tests"]
import dataclasses
import numpy as np, torch
from triton.runtime.interpreter import interpreter_builder
from support.halo_layers import random_layer
from support.packed_layers import BOOKS, view
from haloquant.kernels import fallback
from haloquant.kernels.triton import launch

# The interpreter looks for overflow in every sum and product, and tells of it only when asked to debug.
interpreter_builder.options = dataclasses.replace(interpreter_builder.options, sanitize_overflow=False)
launch.PROGRAMS = 4  # so that a program runs through several tiles
shapes = [((41, 140, 64), "two", 0.02), ((37, 41, (32, 16)), "bytes", 0.02)]
shapes += [((32, 256, 128), "nine", 0)] * (sys.argv[1] == "all")  # the first layer has tiles of nine words, too
generator = np.random.default_rng(3)
for (out, width, tile), books, sparse in shapes:
    layer = view(random_layer(out, width, tile, BOOKS[books], 1, sparse))
    assert len(layer.classes.unique()) == len(layer.sizes)  # every codebook is in use
    weight = fallback.dequantize(layer).double()

    def near(x):
        '''A launch for tokens x, held to the reference.'''
        exact, size = x.double() @ weight.T, x.double().abs() @ weight.abs().T
        y = launch.linear(x, layer)
        assert y.dtype == x.dtype and y.shape == (len(x), out)
        # bfloat16 rounds to 2^-9 four times at most: the weight, its sparse part, the product's sum and the result.
        bound = 1e-6 if x.dtype == torch.float32 else 4 * 2**-9
        worst = ((y.double() - exact).abs() / (size + 1e-12)).max().item()
        assert worst <= bound, (out, width, tile, books, sparse, x.shape, x.dtype, worst)

    drawn = lambda count: torch.from_numpy(generator.normal(0, 1, (count, width))).float()
    near(drawn(17))
    near(drawn(17).bfloat16())
    near(drawn(1).bfloat16())
    # Four tokens at once: a usual one, one with an infinity, zeros, and one of two sizes. Two of them for other books.
    x = torch.cat([drawn(1), torch.ones(1, width), torch.zeros(1, width), torch.ones(1, width) * 1e-3])
    x[1, 3] = float("inf")
    x[3, ::64] = 1e30  # beside it, the small ones of the same tile are rounded off, and nothing else
    which = [0, 1, 2, 3] if books == "two" else [1, 3]
    y = dict(zip(which, launch.linear(x[which], layer), strict=True))
    if books == "two":
        assert ((y[0] - x[0].double() @ weight.T).abs() <= 1e-6 * (x[0].double().abs() @ weight.abs().T)).all()
        assert y[2].eq(0).all()
    assert not y[1].isfinite().any()  # an infinity is not lost among whole numbers
    assert ((y[3] - x[3].double() @ weight.T).abs() <= 1e-6 * x[3].max() * weight.abs().sum(1)).all()
    assert torch.equal(launch.dequantize(layer), fallback.dequantize(layer))
    x, launch.MOST_BLOCK_WEIGHTS = drawn(9), 2 * width * 32
    assert ((launch.linear(x, layer) - x.double() @ weight.T).abs() <= 1e-6 * (x.double().abs() @ weight.abs().T)).all()
    launch.MOST_BLOCK_WEIGHTS = 1 << 27
    tokens = torch.from_numpy(generator.integers(-127, 128, (1, width)).astype(np.int8))
    assert torch.equal(launch.integer_tile_sums(tokens, layer), fallback.integer_tile_sums(tokens, layer))
    # Two launches, of seven tokens and of two. Whole numbers are exact. A float product is numpy's here, and a BLAS may
    # round a row otherwise in another place of a block. A term passes through at most `steps` roundings: its product,
    # the sum of its tile, the scale, the sum of tiles, the sparse part. So each result errs by steps * eps / 2 at most.
    x, reach = drawn(9), launch.MOST_OFFSET
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
print("all agree")
"""


@pytest.mark.slow
@pytest.mark.thinned
@pytest.mark.timeout(900)
def test_interpreted_kernels_agree_with_the_reference() -> None:
    done = run(CASES, ["all" if ALL else "few"], timeout=850, TRITON_INTERPRET="1")
    assert done.stdout.strip() == "all agree", done.stderr[-3000:]


INSTRUCTIONS = Path(__file__).parents[4] / "bench/gpu/instructions.py"
TOOLS = [Path(triton.__file__).parent / "backends/nvidia/bin" / name for name in ("ptxas", "nvdisasm", "cuobjdump")]


@pytest.mark.slow
@pytest.mark.thinned
@pytest.mark.timeout(900)
@pytest.mark.skipif(not all(map(Path.exists, TOOLS)), reason="Triton's wheel has no ptxas, nvdisasm and cuobjdump here")
@pytest.mark.parametrize("capability", [80, 90] if NIGHTLY else [90])
def test_machine_code_keeps_codebooks_in_registers_and_spills_nothing(capability, tmp_path) -> None:
    """Read in the machine code, without a device; what it computes is the interpreter's business.

    In prefill a thread decodes 32 weights a tile, in decode 256: a handful of loads from the codebook is a tile's, not
    a weight's (Triton loads some tiles ahead, which repeats them). Bounds are a quarter above what was counted.
    """
    arguments = ["--capability", str(capability), "--ways", "64", "1", *([] if ALL else ["--only", "decode"])]
    done = run(INSTRUCTIONS.read_text(), arguments, TRITON_CACHE_DIR=str(tmp_path))
    assert done.returncode == 0, done.stderr[-3000:]
    rows = {row["kernel"]: row for row in json.loads(done.stdout)["capabilities"][str(capability)]}
    assert len(rows) == (10 if ALL else 4)
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
