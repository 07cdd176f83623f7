"""TF32 is off while sums and codes are computed, and as it was afterwards."""

import pytest

torch = pytest.importorskip("torch")

from haloquant.kernels.float32_products import float32_products  # noqa: E402


@pytest.mark.parametrize("chosen", [False, True])
def test_the_choice_of_the_program_comes_back(chosen: bool) -> None:
    products = torch.backends.cuda.matmul
    before, products.allow_tf32 = products.allow_tf32, chosen
    try:
        with pytest.raises(KeyError), float32_products():
            assert products.allow_tf32 is False
            raise KeyError
        assert products.allow_tf32 is chosen
    finally:
        products.allow_tf32 = before
