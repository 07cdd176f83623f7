"""The kernels in CUDA C++ run on the CPU: g++ compiles the same source, and fibers stand for the threads.

A detector looks for threads that use shared memory without waiting for each other. `bench/gpu/measure.py` runs the
kernels on a GPU.
"""

import ctypes
import shutil
import subprocess
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from haloquant.kernels import dispatch, fallback
from haloquant.kernels.cuda import launch, programs
from haloquant.kernels.cuda.launch_plan import DIGITS, launch_plan, split_count
from haloquant.kernels.layer_tensors import PackedLayer
from support.draws import daily
from support.halo_layers import codebook, random_layer
from support.packed_layers import BOOKS, view

SUPPORT = Path(__file__).parents[3] / "support"
MULTIPROCESSORS, SHARED_BYTES = 14, 99 << 10  # of the device that is played, so that rows of tiles are split


def can_compile() -> bool:
    """Whether there is a g++ that knows float16 (12 or later on x86)."""
    if shutil.which("g++") is None:
        return False
    tried = ["g++", "-std=c++17", "-fsyntax-only", "-x", "c++", "-"]
    return not subprocess.run(tried, input="_Float16 half = 1;", text=True, capture_output=True, check=False).returncode


compiler = pytest.mark.skipif(not can_compile(), reason="g++ is not installed, or knows no _Float16")


@pytest.fixture(scope="module")
def compiled(tmp_path_factory, headers) -> Callable[[tuple[tuple[str, int], ...]], ctypes.CDLL]:
    """Return the kernels as functions of the CPU."""
    folder = tmp_path_factory.mktemp("cuda")
    (folder / programs.SOURCE).write_text(programs.source())

    @cache
    def compile_for(defines: tuple[tuple[str, int], ...]) -> ctypes.CDLL:
        return build(folder, headers, defines, watched=sum(value for _, value in defines) % 2 == 0)  # half of the kinds

    return compile_for


OPTIONS = ["g++", "-std=c++17", "-O1", "-fPIC", "-w"]
WATCHED = ["-fsanitize=thread"]
STANDARD = "cuda_on_cpu_standard.h"


@pytest.fixture(scope="module")
def headers(tmp_path_factory) -> Path:
    """Return a folder with the compiled headers of the standard library, for kernels with and without the detector."""
    folder = tmp_path_factory.mktemp("headers") / f"{STANDARD}.gch"
    folder.mkdir()
    for number, more in enumerate(([], WATCHED)):
        command = [*OPTIONS, "-ffp-contract=off", *more, "-x", "c++-header", str(SUPPORT / STANDARD)]
        subprocess.run([*command, "-o", str(folder / str(number))], check=True)
    return folder.parent


def build(folder: Path, headers: Path, defines: tuple[tuple[str, int], ...], watched: bool = True) -> ctypes.CDLL:
    """Compile the source in a folder, and the detector of races; only what is watched calls it, which takes time."""
    library = folder / ("_".join(str(value) for _, value in defines) + ".so")
    kernels, detector = library.with_suffix(".o"), folder / "detector.o"
    command = [*OPTIONS, "-ffp-contract=off", *WATCHED * watched, "-include", str(headers / STANDARD)]
    command += [f"-I{folder}", f"-I{SUPPORT}"]
    command += [f"-D{name}={value}" for name, value in defines]
    subprocess.run([*command, "-c", str(SUPPORT / "cuda_decode.cpp"), "-o", str(kernels)], check=True)
    if not detector.exists():
        subprocess.run([*OPTIONS, "-O2", "-c", str(SUPPORT / "race_detector.cpp"), "-o", str(detector)], check=True)
    subprocess.run([*OPTIONS, "-shared", str(kernels), str(detector), "-o", str(library)], check=True)
    return ctypes.CDLL(str(library))


@pytest.fixture
def on_cpu(compiled, monkeypatch) -> None:
    """Let `launch` call the functions of the CPU."""
    play(compiled, monkeypatch)
    yield
    launch._way.cache_clear()


def play(compiled: Callable[[tuple[tuple[str, int], ...]], ctypes.CDLL], monkeypatch: pytest.MonkeyPatch) -> None:
    launch._way.cache_clear()
    monkeypatch.setattr(launch, "_device", lambda device: (MULTIPROCESSORS, SHARED_BYTES))
    monkeypatch.setattr(launch, "_index", lambda device: 0)
    monkeypatch.setattr(launch, "_overlaps", lambda device: False)
    monkeypatch.setattr(launch, "_config", lambda grid, threads, shared, overlapped: (grid, threads, shared))
    monkeypatch.setattr(launch, "kernel", lambda device, name, defines, shared: (compiled(defines), name))

    def run(at: Any, config: Any, found: tuple[ctypes.CDLL, str], *arguments: int) -> None:
        grid, threads, shared = config
        library, name = found
        call = getattr(library, f"run_{name}")
        call((ctypes.c_longlong * 3)(*grid), *map(ctypes.c_longlong, [threads, shared, *arguments]))
        races = ctypes.c_uint.in_dll(library, "race_reports").value
        assert not races, f"{races} races in {name}"

    monkeypatch.setattr(launch, "_launch", run)


def layer_of(out: int, width: int, books: str, sparse: float = 0.0) -> PackedLayer:
    return view(random_layer(out, width, 128, BOOKS[books], 1, sparse))


def tokens_of(count: int, width: int, dtype: torch.dtype) -> torch.Tensor:
    if dtype == torch.int8:
        return torch.from_numpy(np.random.default_rng(2).integers(-128, 128, (count, width)).astype(np.int8))
    return torch.from_numpy(np.random.default_rng(2).normal(0, 1, (count, width)).astype(np.float32)).to(dtype)


def bound(dtype: torch.dtype) -> float:
    """Of the sum of the sizes of all products."""
    return {torch.float32: 1e-6, torch.bfloat16: 2**-9, torch.float16: 2**-11}[dtype]


PRODUCTS = [
    ("two", (256, 1280), 1, torch.bfloat16, 0.02),
    ("two", (256, 512), 8, torch.float16, 0.0),
    ("two", (128, 384), 13, torch.bfloat16, 0.005),
    ("two", (128, 128 * 31), 8, torch.float32, 0.0),  # more tiles than shared memory has room for
    ("nine", (128, 640), 1, torch.float32, 0.0),
    ("two", (128, 1408), 3, torch.float32, 0.01),
    ("two", (896, 128), 2, torch.float32, 0.0),
]


@compiler
@pytest.mark.thinned
@pytest.mark.parametrize(("books", "shape", "count", "dtype", "sparse"), daily(PRODUCTS, PRODUCTS[:4]))
def test_products_agree_with_the_reference(on_cpu, books, shape, count, dtype, sparse) -> None:
    layer = layer_of(*shape, books, sparse)
    x = tokens_of(count, shape[1], dtype)
    weight = fallback.dequantize(layer).double()
    exact, size = x.double() @ weight.T, x.double().abs() @ weight.abs().T
    y = launch.linear(x, layer)
    assert y.dtype == dtype
    assert ((y.double() - exact).abs() <= bound(dtype) * (size + exact.abs()) + 1e-7).all()
    assert torch.equal(launch.linear(x, layer), y)
    one = launch.linear(x[1:2] if count > 1 else x, layer).double()  # a part of a tensor
    own = slice(1, 2) if count > 1 else slice(None)
    assert ((one - exact[own]).abs() <= bound(dtype) * (size[own] + exact[own].abs()) + 1e-7).all()


@compiler
def test_an_infinity_reaches_its_outputs_and_no_other_token(on_cpu) -> None:
    layer, x = layer_of(128, 384, "two"), tokens_of(3, 384, torch.float32)
    x[1, 130] = float("inf")
    x[2] = 0.0
    y = launch.linear(x, layer)
    weight = fallback.dequantize(layer).double()
    assert y[0].isfinite().all()
    assert not y[1].isfinite().any()
    assert y[2].eq(0).all()
    assert ((y[0] - x[0].double() @ weight.T).abs() <= 1e-6 * (x[0].double().abs() @ weight.abs().T)).all()


@compiler
def test_inputs_of_two_sizes_in_a_tile(on_cpu) -> None:
    """Beside 1e30, the small inputs of the same tile are rounded to multiples of the step, and nothing else is."""
    layer, x = layer_of(128, 384, "two"), torch.ones(1, 384) * 1e-3
    x[0, 5] = 1e30
    weight = fallback.dequantize(layer).double()
    error = (launch.linear(x, layer) - x.double() @ weight.T).abs()
    rounded = 2.0**-22 * 1e30 * weight[:, :128].abs().sum(1)
    assert (error <= rounded + 1e-6 * (x.double().abs() @ weight.abs().T)).all()
    x[0, :128] = 0.0
    assert ((launch.linear(x, layer) - x.double() @ weight.T).abs() <= 1e-6 * (x.double() @ weight.abs().T)).all()


INTEGERS = [("two", 1), ("nine", 5), ("two", 16)]


@compiler
@pytest.mark.thinned
@pytest.mark.parametrize(("books", "count"), daily(INTEGERS, INTEGERS[:2]))
def test_integers_are_exact(on_cpu, books, count) -> None:
    layer, x = layer_of(256, 896, books), tokens_of(count, 896, torch.int8)
    scale = torch.rand(count, generator=torch.Generator().manual_seed(3))
    assert torch.equal(launch.integer_tile_sums(x, layer), fallback.integer_tile_sums(x, layer))
    assert torch.equal(launch.integer_linear(x, scale, layer), fallback.integer_linear(x, scale, layer))


@compiler
def test_integers_with_a_sparse_part_and_many_tiles(on_cpu) -> None:
    layer, x = layer_of(128, 128 * 130, "two", 0.001), tokens_of(1, 128 * 130, torch.int8)
    scale = torch.tensor([0.7])
    assert torch.equal(launch.integer_linear(x, scale, layer), fallback.integer_linear(x, scale, layer))


@compiler
def test_extreme_sums_stay_exact(on_cpu) -> None:
    """Words of -128 and inputs of -128 everywhere: the largest sum of a tile, 2^21."""
    books = (codebook((-128, 127)), codebook((*range(-128, -113), 127)))
    layer = view(random_layer(128, 256, 128, books, 1, 0.0))
    layer.packed.zero_()
    x = torch.full((2, 256), -128, dtype=torch.int8)
    sums = launch.integer_tile_sums(x, layer)
    assert torch.equal(sums, fallback.integer_tile_sums(x, layer))
    assert sums.max() == 2**21
    y = launch.linear(x.float(), layer).double()
    exact = x.double() @ fallback.dequantize(layer).double().T
    assert ((y - exact).abs() <= 1e-6 * exact.abs() + 1e-9).all()


@compiler
def test_buffers_are_float32_whatever_torch_s_default_is(on_cpu) -> None:
    layer, x = layer_of(128, 1024, "two"), tokens_of(3, 1024, torch.float32)
    codes, scale = tokens_of(3, 1024, torch.int8), torch.rand(3, dtype=torch.float32)
    expected, integers = launch.linear(x, layer), launch.integer_linear(codes, scale, layer)
    kept = torch.get_default_dtype()
    try:
        for other in (torch.bfloat16, torch.float64):
            torch.set_default_dtype(other)
            assert torch.equal(launch.linear(x, layer), expected)
            assert torch.equal(launch.integer_linear(codes, scale, layer), integers)
    finally:
        torch.set_default_dtype(kept)


def test_tokens_of_the_other_kind_are_refused() -> None:
    layer = layer_of(128, 256, "two")
    with pytest.raises(ValueError, match=r"must be of a float type, not torch\.int8"):
        launch.linear(tokens_of(1, 256, torch.int8), layer)
    for call in (launch.integer_tile_sums, lambda x, layer: launch.integer_linear(x, torch.ones(1), layer)):
        with pytest.raises(ValueError, match=r"must be int8, not torch\.float32"):
            call(tokens_of(1, 256, torch.float32), layer)


BARRIERS = {  # in `decode.cu`, and what stays without them
    "before the codes of other lanes are read": ("wait_for_copies();\n            __syncwarp();", "wait_for_copies();"),
    "before a stage is filled again": (
        "            __syncwarp();\n            if (a + STAGES * KW < to) {",
        "            if (a + STAGES * KW < to) {",
    ),
    "between two chunks of digits": ("if (low > from) __syncthreads();", ""),
    "before the words of the 25th group pass through the stage": (
        "        __syncwarp();\n#pragma unroll\n        for (int i = 0; i < 5; i++) *(u32*)(stage",
        "#pragma unroll\n        for (int i = 0; i < 5; i++) *(u32*)(stage",
    ),
    "that waits for copies": ("            wait_for_copies();\n", "            if (lane > 32) wait_for_copies();\n"),
}


@compiler
@pytest.mark.thinned
@pytest.mark.parametrize("barrier", daily(BARRIERS, ["between two chunks of digits", "that waits for copies"]))
def test_a_missing_barrier_is_found(barrier, headers, tmp_path, monkeypatch) -> None:
    """The judge of the judge: each barrier is taken away, and a race or a wrong sum shows."""
    there, left = BARRIERS[barrier]
    source = programs.source()
    assert source.count(there) == 1
    (tmp_path / programs.SOURCE).write_text(source.replace(there, left))
    play(cache(lambda defines: build(tmp_path, headers, defines)), monkeypatch)
    monkeypatch.setattr(launch, "_device", lambda device: (1, SHARED_BYTES))  # no splits, so that stages are refilled
    monkeypatch.setattr("haloquant.kernels.cuda.launch_plan.WAYS", {False: {1: (4, 2), 2: (4, 2), 3: (4, 2)}})
    launch.launch_plan.cache_clear()
    layer, x = layer_of(128, 128 * 24, "two"), tokens_of(8, 128 * 24, torch.float32)
    exact = x.double() @ fallback.dequantize(layer).double().T
    try:
        with pytest.raises(AssertionError):
            assert torch.allclose(launch.linear(x, layer).double(), exact, atol=1e-4), "wrong"
    finally:
        launch._way.cache_clear()
        launch.launch_plan.cache_clear()


def test_only_few_tokens_and_full_tiles_are_taken(monkeypatch) -> None:
    monkeypatch.setattr(launch, "_ready", lambda device: True)
    layer = layer_of(128, 256, "two")
    assert launch.takes(torch.zeros(16, 256), layer)
    assert not launch.takes(torch.zeros(17, 256), layer)
    assert not launch.takes(torch.zeros(0, 256), layer)
    assert not launch.takes(torch.zeros(1, 256, dtype=torch.float64), layer)
    assert not launch.takes(torch.zeros(1, 256), view(random_layer(130, 256, 128, BOOKS["two"], 1, 0.0)))
    assert not launch.takes(torch.zeros(1, 256), view(random_layer(128, 256, 64, BOOKS["two"], 1, 0.0)))
    assert not launch.takes(torch.zeros(1, 256), view(random_layer(128, 256, 128, BOOKS["bytes"], 1, 0.0)))


def test_without_a_gpu_no_launch_is_chosen() -> None:
    assert not launch.takes(torch.zeros(1, 256), layer_of(128, 256, "two"))
    assert dispatch._gpu_kernels(torch.zeros(1, 256), layer_of(128, 256, "two")) is not launch


@pytest.mark.parametrize("kind", DIGITS)
@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("shared", [99 << 10, 163 << 10, 227 << 10])
def test_plans_fit_the_device(kind, sparse, shared) -> None:
    for tokens in range(1, 17):
        for down, across in ((1, 1), (32, 86), (64, 224), (224, 64), (400, 448)):
            plan = launch_plan(down, across, tokens, kind, sparse, 132, shared)
            assert plan.shared_bytes <= shared
            assert plan.threads <= 1024
            assert 1 <= plan.chunk <= across
            assert 1 <= plan.splits <= max(1, across // 4)
            assert plan.group * plan.groups >= tokens > plan.group * (plan.groups - 1)
            assert plan.group * DIGITS[kind] <= 8 * plan.blocks


def test_rows_of_tiles_are_split_to_fill_the_multiprocessors() -> None:
    assert split_count(32, 86, 132) == 4  # 128 blocks
    assert split_count(64, 224, 132) == 2
    assert split_count(86, 32, 132) == 3  # 258 blocks, two of a third for each multiprocessor
    assert split_count(224, 64, 132) == 1


def test_a_device_where_nothing_compiles_gets_the_triton_kernels_and_a_warning(monkeypatch) -> None:
    capability = {"value": (9, 0)}
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability["value"])
    monkeypatch.setattr(launch, "has_cuda_core", lambda: True)
    monkeypatch.setattr(launch, "_device", lambda device: (132, SHARED_BYTES))
    monkeypatch.setattr(launch, "_config", lambda *shape: None)

    def fails(*arguments: Any) -> None:
        raise RuntimeError("libnvrtc.so.13 is not there")

    monkeypatch.setattr(launch, "kernel", fails)
    launch._ready.cache_clear()
    with pytest.warns(UserWarning, match=r"use the Triton kernels, since cuda-core .* libnvrtc\.so\.13 is not there"):
        assert not launch._ready(torch.device("cuda", 0))
    launch._ready.cache_clear()
    monkeypatch.setattr(launch, "kernel", lambda *arguments: None)
    assert launch._ready(torch.device("cuda", 0))
    capability["value"] = (7, 5)
    assert not launch._ready(torch.device("cuda", 1))
    launch._ready.cache_clear()
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_current_stream_capturing", lambda: True)
    capability["value"] = (9, 0)
    with pytest.raises(RuntimeError, match="must have run once with as many tokens before a CUDA graph captures it"):
        launch._ready(torch.device("cuda", 0))
    launch._ready.cache_clear()
