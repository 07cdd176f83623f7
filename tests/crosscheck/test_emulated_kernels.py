"""The vector kernels of other CPUs than this machine has, run by QEMU against whole numbers and sums in float64."""

import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from support import emulated_kernels
from support.draws import daily
from support.halo_layers import NINE, SIXTEEN

pytestmark = pytest.mark.crosscheck
EXTREME = (-128, -127, -1, 0, 1, 2, 64, 100, 101, 102, 103, 104, 105, 106, 126, 127)


@pytest.fixture(scope="module", params=emulated_kernels.TARGETS)
def kernels(request, tmp_path_factory) -> tuple[str, Path]:
    absent = emulated_kernels.missing(request.param)
    if absent:
        pytest.skip(f"{absent} is not installed")
    return request.param, emulated_kernels.program(request.param, tmp_path_factory.mktemp("kernels"))


def cases(name: str):
    """Layout, rows, inputs and tokens: rows that fill no group, and 1 to 16 tokens in blocks of every size."""
    for layout in emulated_kernels.layouts(name):
        widths = (32, 96) if layout == "half_nibbles" else (32, 64, 128) if layout == "fives" else (64, 128)
        for cols, rows, tokens in zip(widths, (13, 128, 5), (7, 1, 16), strict=False):
            yield layout, rows, cols, tokens
        yield layout, 8, widths[0], 2


def test_whole_numbers_are_exact(kernels) -> None:
    generator = np.random.default_rng(0)
    for layout, rows, cols, tokens in cases(kernels[0]):
        words = np.array(NINE if layout == "fives" else SIXTEEN)
        codes = generator.integers(0, words.size, (rows, cols)).astype(np.uint8)
        scale = generator.normal(0, 1, rows).astype(np.float16)
        x = generator.integers(-128, 128, (tokens, cols)).astype(np.int8)
        y = emulated_kernels.run(*kernels, layout, codes, words, scale, x)
        sums = x.astype(int) @ words[codes].T
        wanted = np.float32(1) + sums.astype(np.float32) * scale.astype(np.float32)
        assert np.array_equal(y, wanted[:, : y.shape[1]]), (layout, rows, cols, tokens)


def test_the_largest_words_and_inputs_do_not_saturate(kernels) -> None:
    words = np.array(EXTREME)
    for layout in emulated_kernels.layouts(kernels[0]):
        book = words[[0, 1, 2, 3, 4, 5, 6, 14, 15]] if layout == "fives" else words
        cols = 256 if layout != "half_nibbles" else 224
        ends = np.array([0, book.size - 1, 0])  # -128, 127 and -128 everywhere
        codes = np.repeat(np.tile(ends, 5)[:, None], cols, 1).astype(np.uint8)
        x = np.stack([np.full(cols, v) for v in (-128, -127, 127)] + [np.resize([127, -128], cols)]).astype(np.int8)
        y = emulated_kernels.run(*kernels, layout, codes, book, np.ones(15, np.float16), x)
        assert np.array_equal(y, np.float32(1) + x.astype(int) @ book[codes].T), layout


def test_floats_are_within_rounding(kernels) -> None:
    """Within 1e-6 of the sum of absolute products; a NaN reaches every result of its token and no other."""
    generator = np.random.default_rng(1)
    for layout, rows, cols, tokens in cases(kernels[0]):
        words = np.array(NINE if layout == "fives" else EXTREME)
        codes = generator.integers(0, words.size, (rows, cols)).astype(np.uint8)
        scale = generator.normal(0, 1, rows).astype(np.float16)
        x = generator.normal(0, 1, (tokens, cols)).astype(np.float32)
        weight = words[codes] * scale.astype(float)[:, None]
        if tokens > 1:
            x[1, cols // 2] = np.nan
        y = emulated_kernels.run(*kernels, layout, codes, words, scale, x)
        bound = 1e-6 * (1 + np.abs(x.astype(float)) @ np.abs(weight).T)[:, : y.shape[1]]
        error = np.abs(y - 1 - (x.astype(float) @ weight.T)[:, : y.shape[1]])
        ordinary = np.arange(tokens) != 1
        assert np.all(error[ordinary] <= bound[ordinary]), (layout, rows, cols, tokens)
        assert np.all(np.isnan(y[~ordinary])) or tokens == 1


def test_every_fraction_of_base_nine_is_decoded(kernels) -> None:
    """All 59,049 groups of five digits in one tile. The words are the digits less 4, and one input is not 0."""
    words, cols, place = np.arange(9) - 4, 32, 13
    digits = np.stack([np.arange(9**5) // 9 ** (4 - k) % 9 for k in range(5)], 1).reshape(-1)
    codes = np.zeros((digits.size, cols), np.uint8)
    codes[:, place] = digits
    one = np.zeros((1, cols), np.int8)
    one[0, place] = 1
    y = emulated_kernels.run(*kernels, "fives", codes, words, np.ones(digits.size, np.float16), one)
    assert np.array_equal(y[0], np.float32(1) + words[digits])


@pytest.mark.slow
@pytest.mark.skipif(platform.machine() != "x86_64", reason="the Python that runs the tests is not one for x86-64")
@pytest.mark.thinned
@pytest.mark.parametrize(("cpu", "wanted"), daily([("Nehalem", "none"), ("Haswell", "avx2")], [("Nehalem", "none")]))
def test_the_instructions_of_an_emulated_cpu_are_recognized(cpu, wanted) -> None:
    """Importing the module also shows that a CPU without AVX meets no instruction that it lacks."""
    emulator = shutil.which("qemu-x86_64")
    if emulator is None:
        pytest.skip("qemu-x86_64 is not installed")
    code = "from haloquant.kernels.cpu.instruction_set import INSTRUCTION_SET; print(INSTRUCTION_SET)"
    done = subprocess.run(
        [emulator, "-cpu", cpu, Path(sys.executable).resolve(), "-c", code],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        capture_output=True,
        text=True,
        timeout=280,
    )
    assert done.stdout.split() == [wanted], done.stderr
