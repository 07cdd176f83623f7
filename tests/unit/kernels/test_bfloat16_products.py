"""Products of bfloat16 matrices against float64: a sum rounded to bfloat16 would be wrong by 0.1."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from haloquant.kernels.bfloat16_products import Bfloat16Products, transposed_product  # noqa: E402


def _matrices(dtype):
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(300, width, generator=generator).to(dtype) for width in (40, 24)]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_terms_are_exact_and_sums_float32(dtype) -> None:
    left, right = _matrices(dtype)
    found, wanted = transposed_product(left, right), left.double().T @ right.double()
    assert found.dtype == torch.float32
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-3)


def test_products_are_those_of_bfloat16_and_all_else_is_float32() -> None:
    left, right = _matrices(torch.float32)
    wanted = (left.T.bfloat16() @ right.bfloat16()).float()
    with Bfloat16Products() as products:
        found = [left.T @ right, torch.matmul(left.T, right), torch.nn.functional.linear(left.T, right.T)]
        found += [torch.einsum("ti,tj->ij", left, right), torch.einsum("ti,tj->ij", [left, right])]
        given = torch.mm(left.T, right, out=torch.empty(40, 24))
        total = left + left
        with products.paused():
            exact = left.T @ right
        integers = torch.ones(2, 2, dtype=torch.int64) @ torch.ones(2, 2, dtype=torch.int64)
    for each in found:
        assert each.dtype == torch.float32
        assert torch.equal(each, each.bfloat16().float())
        np.testing.assert_allclose(each, wanted, rtol=2**-7, atol=1e-3)  # a kernel may add in another order
    np.testing.assert_array_equal(total, 2 * left)
    np.testing.assert_array_equal(exact, left.T @ right)
    np.testing.assert_array_equal(given, left.T @ right)  # where the result goes is float32, so torch takes no bfloat16
    assert integers.dtype == torch.int64
    assert not torch.equal(exact, wanted)


class _Weight:
    """A weight that a layer stands for, as those of experts are."""

    def __init__(self, layer: torch.nn.Linear) -> None:
        self.layer = layer

    @classmethod
    def __torch_function__(cls, _function, _types, args=(), _kwargs=None):
        return args[1].layer(args[0])


def test_layers_that_stand_for_a_weight_get_float32() -> None:
    left, _ = _matrices(torch.float32)
    layer, seen = torch.nn.Linear(40, 8), []
    layer.register_forward_pre_hook(lambda _module, args: seen.append(args[0]))
    with Bfloat16Products(), torch.no_grad():
        found = torch.nn.functional.linear(left, _Weight(layer))
        wanted = layer(left)
    assert seen[0] is left
    np.testing.assert_array_equal(found, wanted)


def test_products_with_parameters_that_are_left_stay_float32() -> None:
    """As those of routers, in any view: a rounded logit would send a token to another expert."""
    left, right = _matrices(torch.float32)
    router, layer = torch.nn.Parameter(right.clone()), torch.nn.Parameter(right.clone())
    products = Bfloat16Products()
    products.leave([router])
    with products, torch.no_grad():
        exact = [torch.nn.functional.linear(left.T, router.T), left.T @ router.float(), left.T @ router[:, :8]]
        rounded = left.T @ layer
    wanted = left.T @ right
    for found, whole in zip(exact, (wanted, wanted, wanted[:, :8]), strict=True):
        np.testing.assert_allclose(found, whole, rtol=0, atol=1e-4)
    assert (rounded - wanted).abs().max() > 1e-2


def test_attention_with_an_additive_mask_stays_float32() -> None:
    query = torch.randn(1, 2, 6, 8, generator=torch.Generator().manual_seed(0))
    attention = torch.nn.functional.scaled_dot_product_attention
    positions = -torch.arange(6.0) * 100.1
    masks = {"additive": positions.expand(6, 6), "of bool": torch.ones(6, 6, dtype=torch.bool), "none": None}
    for name, mask in masks.items():
        plain = attention(query, query, query, attn_mask=mask)
        with Bfloat16Products():
            found = attention(query, query, query, attn_mask=mask)
        assert found.dtype == torch.float32
        assert torch.equal(found, plain) == (name == "additive"), name
        np.testing.assert_allclose(found, plain, atol=0.05)


def test_gradients_are_products_of_bfloat16_too() -> None:
    left, right = _matrices(torch.float32)
    left.requires_grad_()
    with Bfloat16Products():
        product = left.T @ right
    product.sum().backward()
    wanted = right.bfloat16().double() @ torch.ones(24, 40).double()
    assert torch.equal(left.grad, left.grad.bfloat16().float())
    np.testing.assert_allclose(left.grad, wanted, rtol=2**-7, atol=1e-3)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
def test_tensor_cores_sum_in_float32() -> None:
    left, right = (x.cuda() for x in _matrices(torch.bfloat16))
    np.testing.assert_allclose(
        transposed_product(left, right).cpu(), (left.double().T @ right.double()).cpu(), atol=1e-4
    )
