"""The loops over columns in Triton's interpreter against plain torch, and compiled for a GPU without running.

The interpreter has to be chosen before Triton is imported, so one process of its own runs all cases.
"""

import pytest

from support.own_process import run

pytest.importorskip("triton")

CASES = """
import sys; sys.path[:0] = ["tests"]
import numpy as np, torch
from haloquant.kernels.rounding import column_steps as steps
from haloquant.kernels.rounding.word_tensors import word_tensors
from support.quant_twins import NINE, SIXTEEN, book

books = (NINE, SIXTEEN, book(range(-20, 21), "wide"))
for seed, (rows, width, across, sparse) in enumerate([(19, 24, 3, True), (16, 32, 2, False), (5, 7, 1, True)]):
    rng = np.random.default_rng(seed)
    tensor = lambda *shape: torch.from_numpy(rng.normal(0, 1, shape)).float()
    words = word_tensors(books, torch.device("cpu"))
    scale = 0.02 * tensor(rows, across)
    scale[0, 0] = 0
    classes = torch.from_numpy(rng.integers(0, len(books), (rows, across)))
    original, unit = tensor(rows, width), torch.triu(0.3 * tensor(width, width), 1) + torch.eye(width)
    target = original + 0.1 * tensor(rows, width)
    places = torch.from_numpy(rng.integers(0, across, width))
    part = None
    if sparse:
        step = 0.01 + tensor(rows).abs()
        step[1] = 0
        marks = rng.choice(3, (rows, width), p=(0.7, 0.2, 0.1)).astype(np.uint8)
        part = steps.SparsePart(torch.from_numpy(marks), step)
    arguments = original, target, unit, places, scale, classes, words, part
    wanted, made = steps.plain_round_columns(*arguments), steps.launch_round_columns(*arguments)
    assert torch.equal(wanted[0], made[0]) and torch.equal(wanted[1], made[1]), seed
    assert wanted[0].float().std() > 1 and (sparse is False or (wanted[1][1][part.kept[1] == 1] != 0).any())

    hessian = tensor(2 * width, width).T @ tensor(2 * width, width)
    hessian = hessian.T @ hessian / width + torch.eye(width)
    kinds, own = classes[:, 0].contiguous(), scale[:, 0].contiguous()
    codes = torch.from_numpy(rng.integers(0, 9, (rows, width)).astype(np.uint8))
    values = words.words[kinds[:, None], codes.long()] * own[:, None]
    active = torch.from_numpy(rng.random(rows) < 0.8)
    slope = tensor(rows, width) @ hessian
    found = []
    for move in (steps.plain_move_codes, steps.launch_move_codes):
        state = slope.clone(), values.clone(), codes.clone()
        moved = move(state[0], hessian, own, kinds, words, part, active, state[1], state[2])
        found.append((moved, *state))
    for one, other in zip(*found):
        assert torch.equal(one, other), seed
    assert 0 < found[0][0].sum() and not (found[0][0] & ~active).any() and not torch.equal(found[0][3], codes)
print("all agree")
"""


def test_interpreted_loops_agree_with_plain_torch() -> None:
    done = run(CASES, TRITON_INTERPRET="1")
    assert done.stdout.strip() == "all agree", done.stderr[-3000:]


COMPILED = """
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from haloquant.kernels.triton import column_steps

sizes = {"COLS": 128, "MOST": 16, "SPARSE": True, "ROWS": 16}
kinds = {
    "original": "*fp32", "target": "*fp32", "unit": "*fp32", "places": "*i64", "scale": "*fp32", "classes": "*i64",
    "words": "*fp32", "sizes": "*i64", "zeros": "*u8", "kept": "*u8", "step": "*fp32", "codes": "*u8",
    "errors": "*fp32", "slope": "*fp32", "hessian": "*fp32", "active": "*i1", "values": "*fp32", "moved": "*i1",
    "rows": "i32", "width": "i32", "across": "i32",
}
for kernel in (column_steps.round_columns_kernel, column_steps.move_codes_kernel):
    names = kernel.arg_names
    signature = {name: "constexpr" if name in sizes else kinds[name] for name in names}
    source = ASTSource(kernel, signature, {(names.index(name),): size for name, size in sizes.items()})
    made = triton.compile(source, target=GPUTarget("cuda", 90, 32), options={"num_warps": 4})
    assert "atom" not in made.asm["ptx"] and "sm_90" in made.asm["ptx"]
    assert made.metadata.shared < 48 << 10, made.metadata.shared
print("compiled")
"""


@pytest.mark.seldom
def test_the_loops_compile_for_a_gpu_and_add_nothing_atomically(tmp_path) -> None:
    done = run(COMPILED, TRITON_CACHE_DIR=str(tmp_path))
    assert done.stdout.strip() == "compiled", done.stderr[-3000:]
