"""Kernels against their slow twins, and the twins against the quantizer's own meaning of the format."""

import os
import subprocess
import sys
import textwrap

import numba
import numpy as np
import pytest
import torch

from haloquant.errors import InfeasibleError
from haloquant.kernels import dispatch, fallback
from haloquant.kernels.cpu import gemv
from haloquant.kernels.torch_operator import compiled_linear
from haloquant.quant import layer as weight
from haloquant.records import QuantizedWeight
from support.halo_layers import NINE, codebook, random_layer
from support.packed_layers import BOOKS, layer, quantize_activations, tokens, view

SHAPES = [
    (384, 256, 128),
    (130, 172, 128),
    (300, 515, 128),
    (37, 41, (7, 11)),
    (33, 65, 32),
    (1, 1, 128),
    (70, 256, (23, 128)),
]
CASES = pytest.mark.parametrize("shape", SHAPES, ids=str)
KINDS = pytest.mark.parametrize("books", BOOKS)


@KINDS
@CASES
def test_reference_means_what_the_quantizer_means(shape, books) -> None:
    q, packed = layer(shape, books)
    assert np.array_equal(fallback.unpack_codes(packed).numpy(), q.codes)
    assert np.array_equal(fallback.dequantize(packed).numpy(), weight.dequantize(q))
    values = fallback.unpack_values(packed).numpy()
    assert np.array_equal(values, weight.mac_values(q).astype(np.float32))


@KINDS
@CASES
def test_dequantize_is_the_reference(shape, books) -> None:
    packed = layer(shape, books)[1]
    assert torch.equal(dispatch.dequantize(packed), fallback.dequantize(packed))


@pytest.mark.parametrize("sparse", [0, 0.05])
@pytest.mark.parametrize("count", [1, 3, 40])
@KINDS
@CASES
def test_linear_is_within_rounding_of_the_reference(shape, books, count, sparse) -> None:
    """Within 1e-6 of the sum of absolute products, which is about ten roundings of float32."""
    packed = layer(shape, books, sparse)[1]
    x = tokens(count, shape[1])
    exact = x.double() @ fallback.dequantize(packed).double().T
    size = x.double().abs() @ fallback.dequantize(packed).double().abs().T
    assert torch.all((dispatch.linear(x, packed).double() - exact).abs() <= 1e-6 * size + 1e-12)


@KINDS
@CASES
def test_plain_loops_and_vector_kernels_agree(shape, books) -> None:
    packed = layer(shape, books)[1]
    x = tokens(1, shape[1])[0].numpy()
    y = np.empty((2, shape[0]), np.float32)
    for fast in (0, 1):
        gemv.gemv(x, *dispatch._arrays(packed), gemv.FAST and bool(fast), y[fast])
    assert np.allclose(y[0], y[1], rtol=1e-5, atol=1e-6 * np.abs(y).max())


def test_kernels_run_in_as_many_threads_as_torch_and_leave_its_number_alone() -> None:
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        dispatch.linear(tokens(1, 256), layer((384, 256, 128), "two")[1])
        assert (numba.get_num_threads(), torch.get_num_threads()) == (1, 1)
    finally:
        torch.set_num_threads(before)


@pytest.mark.slow
def test_a_cpu_without_the_vector_instructions_computes_the_same(tmp_path) -> None:
    code = """
    import sys; sys.path[:0] = ["tests"]
    import torch
    from haloquant.kernels import dispatch, fallback
    from haloquant.kernels.cpu import gemv
    from support.packed_layers import layer, quantize_activations, tokens
    packed = layer((384, 256, 128), "two")[1]
    x = tokens(1, 256)
    error = (dispatch.linear(x, packed) - fallback.linear(x, packed)).abs().max()
    print(gemv.FAST, bool(error < 1e-5))
    """
    environment = os.environ | {"NUMBA_CPU_NAME": "x86-64", "NUMBA_CACHE_DIR": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, env=environment, timeout=250
    )
    assert done.stdout.split() == ["False", "True"], done.stderr


@pytest.mark.parametrize("x", [0.0, 1.0, 1e-30, 1e30])
def test_constant_inputs(x) -> None:
    q, packed = layer((256, 256, 128), "two")
    y = dispatch.linear(torch.full((1, 256), x), packed)[0].double()
    wanted = weight.dequantize(q).astype(np.float64).sum(1) * x
    assert np.allclose(y.numpy(), wanted, rtol=1e-4, atol=1e-5 * abs(x))


def test_every_half_is_read_as_numpy_reads_it() -> None:
    bits = np.arange(65536, dtype=np.uint16)
    finite = bits[np.isfinite(bits.view(np.float16))]
    found = np.array([gemv._half(b) for b in finite], np.float32)
    assert np.array_equal(found.view(np.uint32), finite.view(np.float16).astype(np.float32).view(np.uint32))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_types_and_shapes_are_those_of_a_linear_layer(dtype) -> None:
    packed = layer((130, 172, 128), "two")[1]
    x = tokens(6, 172).view(2, 3, 172).to(dtype)
    y = dispatch.linear(x, packed)
    assert (y.shape, y.dtype) == ((2, 3, 130), dtype)
    assert torch.equal(y[1, 2], dispatch.linear(x[1, 2].float(), packed).to(dtype))


@pytest.mark.parametrize("sparse", [0, 0.05])
def test_a_compiled_model_computes_the_same_without_a_break_in_its_graph(sparse) -> None:
    packed = layer((130, 172, 128), "two", sparse)[1]
    x = tokens(3, 172)
    compiled = torch.compile(lambda x: compiled_linear(x, packed) * 2, fullgraph=True, backend="eager")
    assert torch.equal(compiled(x), dispatch.linear(x, packed) * 2)


# --- whole numbers ----------------------------------------------------------------------------------------------------


def by_hand(q: QuantizedWeight, x: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """The array's arithmetic in plain Python: whole sums per tile, then float32 steps in the order of the tiles."""
    values, grid = weight.mac_values(q).astype(int), q.tiles.grid
    y = np.zeros((x.shape[0], grid.out_features), np.float32)
    for t, o in np.ndindex(*y.shape):
        total = np.float32(0)
        for a in range(grid.across):
            part = slice(a * grid.tile_in, (a + 1) * grid.tile_in)
            total = np.float32(total + np.float32(sum(values[o, part] * x[t, part].astype(int))) * q.scale[o, a])
        if q.sparse.values.size:
            here = q.sparse.rows == o
            whole = sum(q.sparse.values[here].astype(int) * x[t, q.sparse.cols[here]].astype(int))
            total = np.float32(total + np.float32(whole) * q.sparse.scale[o])
        y[t, o] = total * scale[t]
    return y


@KINDS
@CASES
def test_integer_path_is_the_array_bit_for_bit(shape, books) -> None:
    q, packed = layer(shape, books)
    x, scale = quantize_activations(tokens(2, shape[1]))
    wanted = by_hand(q, x.numpy(), scale.numpy())
    assert np.array_equal(fallback.integer_linear(x, scale, packed).numpy(), wanted)
    assert np.array_equal(dispatch.integer_linear(x, scale, packed).numpy(), wanted)


def test_integer_path_at_its_extremes() -> None:
    """Every product at its largest: 128 x -128 x -128 = 2^21 stays exact in float32."""
    book = codebook((-128, 0, 127))
    q = random_layer(128, 256, 128, (book,), sparse=0)
    q.codes[:] = 0
    packed = view(q)
    x = torch.full((1, 256), -128, dtype=torch.int8)
    assert fallback.integer_tile_sums(x, packed).eq(128 * 128 * 128).all()
    one = torch.ones(1)
    assert torch.equal(dispatch.integer_linear(x, one, packed), fallback.integer_linear(x, one, packed))


def test_integer_path_refuses_tiles_whose_sums_it_could_not_hold() -> None:
    packed = view(random_layer(8, 2048, (8, 2048), (codebook(NINE),)))
    with pytest.raises(InfeasibleError, match="tiles must be at most 1024 inputs long for exact sums, not 2048"):
        dispatch.integer_linear(torch.zeros(1, 2048, dtype=torch.int8), torch.ones(1), packed)


def test_activations_are_rounded_to_the_largest_of_each_token() -> None:
    x = torch.tensor([[1.0, -2.0, 0.5], [0.0, 0.0, 0.0]])
    integers, scale = quantize_activations(x)
    assert integers.tolist() == [[64, -127, 32], [0, 0, 0]]  # 63.5 and 31.75
    assert scale.tolist() == pytest.approx([2 / 127, 0])
