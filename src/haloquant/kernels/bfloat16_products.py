"""Matrix products of bfloat16: those of a running model, and those whose sums are float32."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
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
    """Within the `with` block, matrix products and attention are those of bfloat16: operands, biases and results.

    A result is handed on as float32, and all else that a model computes is float32: norms, softmax, residuals, states
    of recurrences. `torch.autocast` hands results on as bfloat16, and some models then mix types that torch does not
    add. Gradients of a product are products of bfloat16 too. Attention with an additive mask stays float32, since the
    mask may hold positions (ALiBi) that bfloat16 cannot tell apart.
    """

    def __init__(self) -> None:
        super().__init__()
        self._paused = False
        self._exact: frozenset[int] = frozenset()

    def leave(self, parameters: Iterable[torch.Tensor]) -> None:
        """Leave the products with these parameters float32, such as those of routers, whose choices would change."""
        self._exact = frozenset(_storage(parameter) for parameter in parameters)

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
        if (
            self._paused
            or func not in _PRODUCTS
            or "out" in given
            or (func is _ATTENTION and _adds_a_mask(args, given))
        ):
            return func(*args, **given)
        tensors = list(_tensors((*args, *given.values())))
        if not any(x.dtype == torch.float32 for x in tensors) or any(_storage(x) in self._exact for x in tensors):
            return func(*args, **given)
        result = func(*map(_rounded, args), **{name: _rounded(value) for name, value in given.items()})
        return result.float() if result.dtype == torch.bfloat16 else result


def _adds_a_mask(args: Sequence[Any], kwargs: Mapping[str, Any]) -> bool:
    mask = args[3] if len(args) > 3 else kwargs.get("attn_mask")
    return mask is not None and mask.is_floating_point()


def _tensors(values: Iterable[Any]) -> Iterator[torch.Tensor]:
    """Yield the tensors among arguments; einsum takes lists of them."""
    for value in values:
        if isinstance(value, torch.Tensor):
            yield value
        elif isinstance(value, list | tuple):
            yield from _tensors(value)


def _storage(tensor: torch.Tensor) -> int:
    """Return where the numbers of a tensor lie, which is the same for its views."""
    return tensor.untyped_storage().data_ptr()


def _rounded(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return list(map(_rounded, value))
    return value.bfloat16() if isinstance(value, torch.Tensor) and value.dtype == torch.float32 else value
