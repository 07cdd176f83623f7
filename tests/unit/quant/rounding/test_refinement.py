"""Refined rounding: the bytes do not depend on the number of threads."""

import numpy as np
import pytest
from numba import get_num_threads, set_num_threads

from haloquant.quant.format.packing import pack
from haloquant.quant.layer import quantize_weight
from haloquant.quant.sparse import split
from haloquant.quant.tiles import make_grid, uniform_map
from haloquant.records import Codebook, LayerStatistics, OperatingPoint

BOOK = Codebook("slow", np.arange(-8, 8).astype(np.int16), OperatingPoint(0.9, 1e9), 1e-11)


@pytest.mark.parametrize("case", ["data-free", "calibrated"])
def test_one_thread_and_two_give_the_same_bytes(case: str) -> None:
    from haloquant.quant.rounding.refinement import quantize_weight_refined

    rng = np.random.default_rng(3)
    weight = rng.standard_normal((96, 80)).astype(np.float32)
    known = None
    if case == "calibrated":
        inputs = rng.standard_normal((400, 80)).astype(np.float32)
        known = LayerStatistics("l", 400, hessian=inputs.T @ inputs / 400, source="test")
    tiles = uniform_map("l", make_grid(96, 80, 16, 16))
    before, made = get_num_threads(), []
    try:
        for threads in (1, min(2, before)):
            set_num_threads(threads)
            sparse, _ = split(weight, known, layer="l", budget=0.005)
            if known is None:
                q = quantize_weight(weight, tiles=tiles, codebooks=(BOOK,), sparse=sparse)
            else:
                q = quantize_weight_refined(weight, tiles=tiles, codebooks=(BOOK,), statistics=known, sparse=sparse)
            made.append({name: array.tobytes() for name, array in pack(q).items()})
    finally:
        set_num_threads(before)
    if before < 2:
        pytest.skip("needs two threads, and numba was given one")
    assert made[0] == made[1]
