"""The parts of a decoder block between its products, against torch's own operations in float64."""

from copy import deepcopy

import numpy as np
import pytest
import torch
from numba import njit
from torch.nn import functional

from haloquant.kernels.cpu import decoder_parts

EPSILON = 1e-5


def random(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape)))


def as_stored(tensor: torch.Tensor, dtype: torch.dtype) -> tuple[np.ndarray, torch.Tensor]:
    """A tensor as the kernels take it, and its exact values."""
    if dtype is torch.bfloat16:
        rounded = tensor.to(dtype)
        return rounded.view(torch.uint16).numpy(), rounded.double()
    return tensor.numpy(), tensor.double()


def norm(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    return functional.rms_norm(x.double(), (x.shape[-1],), weight, EPSILON)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_norms(dtype) -> None:
    stored, weight = as_stored(random(67), dtype)
    x, added, out = random(67), random(67) / 3, np.empty(67, np.float32)
    total = x + added
    decoder_parts.add_norm(x.numpy(), added.numpy(), stored, EPSILON, out)
    assert torch.equal(x, total)
    np.testing.assert_allclose(out, norm(total, weight), rtol=1e-5, atol=1e-6)
    heads, (stored, weight) = random(3, 16), as_stored(random(16), dtype)
    wanted = norm(heads, weight)
    decoder_parts.head_norms(heads.numpy(), stored, EPSILON)
    np.testing.assert_allclose(heads, wanted, rtol=1e-5, atol=1e-6)


def test_rotation() -> None:
    x, angles = random(3, 16), random(8).repeat(2)
    low, high = x.double().chunk(2, -1)
    wanted = x * angles.cos() + torch.cat([-high, low], -1) * angles.sin()
    decoder_parts.rotate(x.numpy(), angles.cos().numpy(), angles.sin().numpy())
    np.testing.assert_allclose(x, wanted, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(("heads", "groups", "tokens", "size"), [(4, 2, 1, 16), (6, 6, 9, 5), (9, 3, 130, 64)])
def test_attention(dtype, heads, groups, tokens, size) -> None:
    query = random(heads, size)
    (keys, k), (values, v) = (as_stored(random(groups, tokens + i, size), dtype) for i in range(2))
    out = np.empty((heads, size), np.float32)
    decoder_parts.attend(query.numpy(), keys, values, tokens, 0.3, out)
    wanted = functional.scaled_dot_product_attention(
        query.double()[:, None], k, v[:, :tokens], scale=0.3, enable_gqa=True
    )[:, 0]
    np.testing.assert_allclose(out, wanted, rtol=1e-4, atol=1e-5)


def test_attention_with_large_products_neither_overflows_nor_hides_a_nan() -> None:
    query, keys, out = np.full((1, 4), 1e3, np.float32), np.eye(4, dtype=np.float32)[None], np.empty((1, 4), np.float32)
    keys[0, 2, 2] = 1e3
    decoder_parts.attend(query, keys, keys, 4, 1.0, out)
    np.testing.assert_array_equal(out, keys[0, 2:3])
    query[0, 1] = np.nan
    decoder_parts.attend(query, keys, keys, 4, 1.0, out)
    assert np.isnan(out).all()


def test_gate() -> None:
    gate, x = 40 * random(50), random(50)
    gate[:2] = torch.tensor([200.0, -200.0])
    wanted = functional.silu(gate.double()) * x
    decoder_parts.gate_with(gate.numpy(), x.numpy())
    np.testing.assert_allclose(x, wanted, rtol=1e-5, atol=1e-30)


def test_keys_are_stored_as_torch_rounds_them() -> None:
    bits = torch.arange(0, 1 << 16, dtype=torch.int32) << 16
    near = [bits + offset for offset in (0, 1, 0x7FFF, 0x8000, 0x8001)]  # exact values, ties, and both sides of them
    numbers = torch.stack([part.view(torch.float32) for part in near])
    stored = np.zeros((2, 5, 3, 1 << 16), np.uint16)
    decoder_parts.append(stored[0], stored[1], 1, numbers.numpy(), -numbers.numpy())
    for found, wanted in ((stored[0], numbers), (stored[1], -numbers)):
        found = torch.from_numpy(found[:, 1].copy()).view(torch.bfloat16)
        assert torch.equal(found.isnan(), wanted.isnan())
        known = ~wanted.isnan()
        assert torch.equal(found[known].view(torch.int16), wanted.to(torch.bfloat16)[known].view(torch.int16))
    assert not stored[:, :, 0].any()
    assert not stored[:, :, 2].any()
    whole = np.zeros((2, 5, 2, 1 << 16), np.float32)
    decoder_parts.append(whole[0], whole[1], 0, numbers.numpy(), numbers.numpy())
    np.testing.assert_array_equal(whole[:, :, 0], np.stack([numbers, numbers]))


@njit
def exponentials(x, out):
    """e^x of each element."""
    for i in range(x.size):
        out[i] = decoder_parts.exponential(x[i])


def test_exponentials_are_within_two_units_in_the_last_place() -> None:
    x = np.concatenate([np.linspace(-87, 88.7, 100_001), [0, -1e-9, 1e-9, 88.72]]).astype(np.float32)
    found, exact = np.empty_like(x), np.exp(x.astype(np.float64))
    exponentials(x, found)
    assert np.max(np.abs(found - exact) / np.spacing(exact.astype(np.float32))) < 2
    ends = np.array([-np.inf, -200, -104, 89, 200, np.inf, np.nan], np.float32)
    found = np.empty_like(ends)
    exponentials(ends, found)
    np.testing.assert_array_equal(found, [0, 0, 0, np.inf, np.inf, np.inf, np.nan])
    small = np.array([-90, -103], np.float32)  # below the least normal number, with fewer bits
    found = np.empty_like(small)
    exponentials(small, found)
    np.testing.assert_allclose(found, np.exp(small.astype(np.float64)), atol=2e-45)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_compiled_code_agrees_with_the_same_in_plain_python(dtype) -> None:
    weight, _ = as_stored(random(6), dtype)
    (keys, _), (values, _) = (as_stored(random(2, 4 + i, 6), dtype) for i in range(2))
    parts = {
        "append": [keys, values, 3, random(2, 6).numpy(), random(2, 6).numpy()],
        "add_norm": [random(6).numpy(), random(6).numpy(), weight, EPSILON, np.empty(6, np.float32)],
        "add_bias": [random(6).numpy(), weight],
        "head_norms": [random(3, 6).numpy(), weight, EPSILON],
        "rotate": [random(3, 6).numpy(), random(6).numpy(), random(6).numpy()],
        "attend": [random(4, 6).numpy(), keys, values, 3, 0.3, np.empty((4, 6), np.float32)],
        "gate_with": [random(6).numpy(), random(6).numpy()],
    }
    for name, arguments in parts.items():
        twice = [deepcopy(arguments), deepcopy(arguments)]
        getattr(decoder_parts, name)(*twice[0])
        getattr(decoder_parts, name).py_func(*twice[1])
        for before, compiled, plain in zip(arguments, *twice, strict=True):
            np.testing.assert_allclose(compiled, plain, rtol=1e-5, atol=1e-6, err_msg=f"{name}, {before!r:.40}")
        assert any(np.any(now != before) for now, before in zip(twice[0], arguments, strict=True)), name
