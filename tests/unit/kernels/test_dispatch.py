"""Kernels against their slow twins: the types, shapes, threads and whole numbers of a product."""

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
from haloquant.kernels.cpu import tile_products
from haloquant.quant import layer as weight
from haloquant.records import QuantizedWeight
from support.halo_layers import NINE, codebook, random_layer, with_offsets
from support.packed_layers import CASES, KINDS, layer, tokens, view


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


@pytest.mark.parametrize("count", [1, 3, 40])
def test_a_layer_with_an_exponent_computes_the_same_at_its_size(count) -> None:
    q, packed = layer((130, 172, 128), "two")
    small = view(weight.resized(q, 40))
    assert (packed.exponent, small.exponent > 20) == (0, True)
    x = tokens(count, 172)
    assert torch.equal(dispatch.linear(x, small), dispatch.linear(x, packed) * 2.0**-40)
    assert torch.equal(dispatch.dequantize(small), dispatch.dequantize(packed) * 2.0**-40)
    assert torch.equal(dispatch.dequantize(small), torch.from_numpy(weight.dequantize(weight.resized(q, 40))))
    rounded = fallback.round_tokens(x)
    assert torch.equal(dispatch.integer_linear(*rounded, small), dispatch.integer_linear(*rounded, packed) * 2.0**-40)
    assert torch.equal(dispatch.rounded_linear(x, small), dispatch.rounded_linear(x, packed) * 2.0**-40)


@pytest.mark.parametrize("exponent", [0, 40])
@pytest.mark.parametrize("count", [1, 3, 40])
@pytest.mark.parametrize("shape", [(130, 172, 128), (37, 41, (7, 11)), (384, 256, 128)])
def test_offsets_add_the_sums_of_their_tiles_inputs(shape, count, exponent) -> None:
    q = weight.resized(with_offsets(layer(shape, "two")[0]), exponent)
    packed, whole = view(q), torch.from_numpy(weight.dequantize(q))
    x = tokens(count, shape[1])
    size = 2.0**exponent  # the bound below is absolute too
    torch.testing.assert_close(dispatch.dequantize(packed) * size, whole * size, rtol=1e-5, atol=1e-6)
    exact = x.double() @ whole.double().T * size
    torch.testing.assert_close(dispatch.linear(x, packed).double() * size, exact, rtol=1e-4, atol=1e-3)
    codes, scale = fallback.round_tokens(x)
    rounded = (codes.double() * scale[:, None]) @ whole.double().T * size
    torch.testing.assert_close(
        dispatch.integer_linear(codes, scale, packed).double() * size, rounded, rtol=1e-4, atol=1e-3
    )
    torch.testing.assert_close(dispatch.rounded_linear(x, packed).double() * size, rounded, rtol=1e-4, atol=1e-3)


def test_sums_of_tiles_by_hand() -> None:
    assert dispatch.tile_sums(torch.tensor([[1, 2, 3, 4, -5]], dtype=torch.int8), 2).tolist() == [[3.0, 7.0, -5.0]]


def test_kernels_run_in_as_many_threads_as_torch_and_leave_its_number_alone() -> None:
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        dispatch.linear(tokens(1, 256), layer((384, 256, 128), "two")[1])
        assert (numba.get_num_threads(), torch.get_num_threads()) == (1, 1)
    finally:
        torch.set_num_threads(before)


@pytest.mark.slow
def test_the_first_call_of_a_process_leaves_the_number_of_threads_alone() -> None:
    """Numba starts its threads in that call."""
    code = """
    import torch
    torch.set_num_threads(1)
    from haloquant.kernels import dispatch
    from support.packed_layers import layer, tokens
    dispatch.linear(tokens(1, 256), layer((384, 256, 128), "two")[1])
    print(torch.get_num_threads())
    """
    environment = os.environ | {"NUMBA_NUM_THREADS": "2", "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-W", "ignore", "-c", textwrap.dedent(code)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=200)
    assert done.stdout.strip() == "1", done.stderr


@pytest.mark.parametrize("x", [0.0, 1.0, 1e-30, 1e30])
def test_constant_inputs(x) -> None:
    q, packed = layer((256, 256, 128), "two")
    y = dispatch.linear(torch.full((1, 256), x), packed)[0].double()
    wanted = weight.dequantize(q).astype(np.float64).sum(1) * x
    assert np.allclose(y.numpy(), wanted, rtol=1e-4, atol=1e-5 * abs(x))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_types_and_shapes_are_those_of_a_linear_layer(dtype) -> None:
    packed = layer((130, 172, 128), "two")[1]
    x = tokens(6, 172).view(2, 3, 172).to(dtype)
    y = dispatch.linear(x, packed)
    assert (y.shape, y.dtype) == ((2, 3, 130), dtype)
    assert torch.equal(y[1, 2], dispatch.linear(x[1, 2].float(), packed).to(dtype))


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
    x, scale = fallback.round_tokens(tokens(2, shape[1]))
    wanted = by_hand(q, x.numpy(), scale.numpy())
    assert np.array_equal(fallback.integer_linear(x, scale, packed).numpy(), wanted)
    assert np.array_equal(dispatch.integer_linear(x, scale, packed).numpy(), wanted)


def test_integer_path_refuses_tiles_whose_sums_it_could_not_hold() -> None:
    packed = view(random_layer(8, 2048, (8, 2048), (codebook(NINE),)))
    with pytest.raises(InfeasibleError, match="tiles must be at most 1024 inputs long for exact sums, not 2048"):
        dispatch.integer_linear(torch.zeros(1, 2048, dtype=torch.int8), torch.ones(1), packed)


def test_tokens_are_rounded_alike_in_compiled_code_and_in_torch() -> None:
    x = tokens(9, 300)
    x[1], x[2, 5], x[3, 7] = 0.0, torch.inf, torch.nan
    x[4] *= 1e-40
    x[5] = torch.arange(300) - 127.5  # halves: to the even code
    x[6] *= 1e30
    codes, scale = tile_products.round_tokens(x.numpy(), np.full(len(x), 1 / 127, np.float32))
    wanted, steps = fallback.round_tokens(x)
    assert np.array_equal(codes, wanted.numpy())
    assert np.array_equal(scale, steps.numpy(), equal_nan=True)
    assert steps[[2, 3]].isnan().all() and steps[1] == 1 and codes.min() >= -127
    rounded = wanted * steps[:, None]
    assert ((rounded - x).abs() <= steps[:, None] * 0.5001).all(1).tolist() == [True] * 2 + [False] * 2 + [True] * 5


@pytest.mark.parametrize("count", [1, 5, 40])
@KINDS
@CASES
def test_rounded_products_are_those_of_the_rounded_tokens(books, shape, count) -> None:
    packed = layer(shape, books, 0.05)[1]
    x = tokens(count, shape[1])
    x[0, 0] = torch.nan
    codes, scale = fallback.round_tokens(x)
    exact = (codes * scale[:, None]).double() @ fallback.dequantize(packed).double().T
    size = (codes.abs() * scale[:, None]).double() @ fallback.dequantize(packed).double().abs().T
    y = dispatch.rounded_linear(x, packed)
    assert y[0].isnan().all()
    assert torch.all((y.double() - exact)[1:].abs() <= 2e-6 * size[1:] + 1e-12)
    assert dispatch.rounded_linear(x.view(1, count, -1).bfloat16(), packed).dtype == torch.bfloat16
    if 1 < count < 12:  # the accelerator's arithmetic, bit for bit
        assert torch.equal(y[1:], fallback.integer_linear(codes[1:], scale[1:], packed))
