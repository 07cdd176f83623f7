"""Matrix products of bfloat16 operands: those of a running model, and those that are summed in float32."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

_OUT_DTYPE = torch.__version__ >= "2.8"  # torch.mm takes `out_dtype` on a GPU since then
_ATTENTION = torch.nn.functional.scaled_dot_product_attention
_PRODUCTS = frozenset(
    {
        torch.nn.functional.linear, torch.addmm, torch.mm, torch.bmm, torch.matmul, torch.Tensor.mm, torch.Tensor.bmm,
        torch.Tensor.matmul, torch.Tensor.__matmul__, torch.einsum, _ATTENTION,
    }
)  # fmt: skip


def transposed_product(left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    """Return left^T right in float32.

    A product of two bfloat16 numbers has 16 bits of fraction, which float32 holds. So both ways below sum the same
    terms: tensor cores of a GPU multiply bfloat16, and elsewhere the operands are converted before.

    Args:
        left: float32 or bfloat16 [t, m].
        right: [t, n], of the same type.

    Returns:
        float32 [m, n].
    """
    if left.dtype == torch.float32:
        return left.T @ right
    if left.is_cuda and _OUT_DTYPE:
        return torch.mm(left.T, right, out_dtype=torch.float32)
    return left.float().T @ right.float()


class Bfloat16Products(TorchFunctionMode):
    """Within the `with` block, matrix products and attention round float32 operands to bfloat16.

    Their results are float32 again, and so is all else that a model computes: norms, softmax, residuals, states of
    recurrences. `torch.autocast` leaves results in bfloat16, and some models then mix types that torch does not add.
    Gradients of a product are products of bfloat16 too. Attention with an additive mask stays float32, since the mask
    may hold positions (ALiBi) that bfloat16 cannot tell apart.
    """

    def __init__(self) -> None:
        super().__init__()
        self._paused = False

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Within the `with` block, products are float32."""
        before, self._paused = self._paused, True
        try:
            yield
        finally:
            self._paused = before

    def __torch_function__(
        self, func: Any, types: Sequence[Any], args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Call a function of torch, with rounded operands if it is a product."""
        given = dict(kwargs or {})
        for kind in types:
            if not issubclass(kind, torch.Tensor):  # an object that stands for a weight, and calls layers
                with self:
                    return kind.__torch_function__(func, types, args, given)
        if self._paused or func not in _PRODUCTS or (func is _ATTENTION and _adds_a_mask(args, given)):
            return func(*args, **given)
        result = func(*map(_rounded, args), **{name: _rounded(value) for name, value in given.items()})
        return result.float() if result.dtype == torch.bfloat16 and _holds_float32((*args, *given.values())) else result


def _adds_a_mask(args: Sequence[Any], kwargs: Mapping[str, Any]) -> bool:
    mask = args[3] if len(args) > 3 else kwargs.get("attn_mask")
    return mask is not None and mask.is_floating_point()


def _holds_float32(values: Sequence[Any]) -> bool:
    return any(isinstance(x, torch.Tensor) and x.dtype == torch.float32 for x in values)


def _rounded(value: Any) -> Any:
    return value.bfloat16() if isinstance(value, torch.Tensor) and value.dtype == torch.float32 else value
