"""The search of scales in Triton's interpreter against plain torch, and compiled for a GPU without running.

The interpreter has to be chosen before Triton is imported, so one process of its own runs all cases.
"""

import pytest

from support.draws import ALL
from support.own_process import run

pytest.importorskip("triton")

CASES = """
import sys; sys.path[:0] = ["tests"]
import numpy as np, torch
from haloquant.kernels.rounding import scale_search
from haloquant.kernels.rounding.word_tensors import word_tensors
from support.quant_twins import NINE, SIXTEEN, book

SYMMETRIC = book([-96, -64, -32, -16, 0, 16, 32, 64, 96], "symmetric")
LOPSIDED = book([-128, -40, 0, 10, 20, 30], "lopsided")
WIDE = book(range(-9, 10), "wide")
MANY = book(range(-40, 41), "many")

# books, rows, inputs, inputs of a tile, whether one row of importance holds for all
cases = [
    ((NINE, SIXTEEN), 3, 150, 128, True),
    ((NINE, SIXTEEN), 3, 40, 32, False),
    ((SYMMETRIC,), 3, 20, 8, True),
    ((SYMMETRIC, LOPSIDED, WIDE), 3, 40, 24, False),
    ((LOPSIDED,), 3, 1030, 2000, False),
    ((MANY,), 3, 12, 16, True),
]
for seed, (books, rows, inputs, tile_in, shared) in enumerate(cases):
    if str(seed) not in sys.argv[1:]:
        continue
    rng = np.random.default_rng(seed)
    across = -(-inputs // tile_in)
    weight = torch.from_numpy(rng.standard_t(5, (rows, inputs)) * 0.02).float()
    weight[torch.from_numpy(rng.random((rows, inputs)) < 0.02)] = 0.0
    weight[2] *= -1e-9
    importance = torch.from_numpy(rng.random((1 if shared else rows, inputs)) ** 4).float()
    importance[:, : inputs // 10] = 0.0
    weight[1, :tile_in] = 0.0
    if not shared:
        importance[0, :tile_in] = 0.0
    classes = torch.from_numpy(rng.integers(0, len(books), (rows, across)))
    words = word_tensors(books, torch.device("cpu"))
    arguments = weight, importance, classes, words, tile_in
    wanted, made = scale_search.plain_search(*arguments), scale_search.launch_search(*arguments)
    assert torch.equal(wanted[0], made[0]), (seed, wanted[0], made[0])
    assert torch.equal(wanted[1], made[1]), (seed, (wanted[1] != made[1]).sum())
    assert words.two_sided == (books not in ((SYMMETRIC,), (MANY,)))
    assert (made[0][1, 0] == 0) and len(wanted[1].unique()) >= 5
    assert words.two_sided or not (wanted[0] < 0).any()
print("all agree")
"""


@pytest.mark.thinned
def test_the_interpreted_search_agrees_with_plain_torch() -> None:
    done = run(CASES, "012345" if ALL else "045", TRITON_INTERPRET="1")
    assert done.stdout.strip() == "all agree", done.stderr[-3000:]


COMPILED = """
import sys; sys.path[:0] = ["bench/gpu"]
from instructions import compile_kernel
from haloquant.kernels.triton.scale_search import search_kernel

kinds = dict.fromkeys(("weight", "importance", "first", "middles", "steps", "reach", "ratios", "scale"), "*fp32")
kinds |= dict.fromkeys(("classes", "trials", "signs", "sizes"), "*i64") | {"zeros": "*u8", "codes": "*u8"}
kinds |= dict.fromkeys(("inputs", "across", "kinds", "tile_in", "most_trials", "refits"), "i32")
kinds |= {"largest": "fp32", "smallest": "fp32"}
for cols, limits, warps, sides in ((128, 15, 1, True), (128, 254, 1, False), (4096, 15, 16, True)):
    sizes = {"COLS": cols, "LIMITS": limits, "TWO_SIDED": sides, "SHARED": not sides}
    signature = {name: kinds[name] for name in search_kernel.arg_names if name not in sizes}
    made = compile_kernel(search_kernel, signature, sizes, 90, warps)
    assert made.spilled_bytes == 0 and "atom" not in made.ptx and "sm_90" in made.ptx, (sizes, made.spilled_bytes)
print("compiled")
"""


@pytest.mark.seldom
def test_the_search_compiles_for_a_gpu_and_spills_no_register(tmp_path) -> None:
    done = run(COMPILED, TRITON_CACHE_DIR=str(tmp_path))
    assert done.stdout.strip() == "compiled", done.stderr[-3000:]
