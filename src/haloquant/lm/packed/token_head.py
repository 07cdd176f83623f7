"""The head of a model: a linear layer that multiplies a single token on a CPU in compiled code, with 16 or 8 bits.

A token waits until the weights of the head are read. torch reads them in bfloat16 more slowly than the compiled loop
does. In 8 bits, as llama.cpp stores them, there are half as many bytes.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from haloquant.errors import InputError
from haloquant.kernels.cpu.stored_arrays import StoredArrays, dense_record, rounded_record
from haloquant.kernels.cpu.token_products import dense_products
from haloquant.kernels.dispatch import share_threads
from haloquant.lm.packed.growing_cache import bits_or_floats

DTYPES = (torch.float32, torch.bfloat16)
HEAD_BITS = (8, 16)
BAND = 8192  # rows of a rounded head that are held in floating point at a time
MOST_TOKENS = 12  # that are multiplied one by one; with more, it is cheaper to decode the rounded weights once for all
SAMPLED = 256  # weights that are compared, since a write through `weight.data` counts nowhere
_FORWARD = nn.Linear.forward


class TokenHead(nn.Linear):
    """A linear layer of torch in all but the product with a single token on a CPU, without gradients."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """Return x W^T + b for the input x, [..., in] -> [..., out], in the type of x."""
        if not self._is_computed_here(input, 1):
            return super().forward(input)
        return self._in_compiled_code(input, dense_record(bits_or_floats(self.weight), self._bias()))

    def _in_compiled_code(self, x: torch.Tensor, stored: StoredArrays) -> torch.Tensor:
        rows = x.detach().to(torch.float32).reshape(-1, self.in_features).numpy()
        y = np.empty((rows.shape[0], self.out_features), np.float32)
        share_threads()
        for given, found in zip(np.ascontiguousarray(rows), y, strict=True):
            dense_products(given, stored.records.ctypes.data, 1, found)
        return torch.from_numpy(y).to(x.dtype).view(*x.shape[:-1], -1)

    def _bias(self) -> np.ndarray | None:
        return None if self.bias is None else bits_or_floats(self.bias.contiguous())

    def _is_computed_here(self, x: torch.Tensor, most_tokens: int) -> bool:
        """Return whether there are so few tokens, on a CPU, and nothing else than their product is asked for."""
        if torch.compiler.is_compiling() or torch.is_grad_enabled() or nn.Linear.forward is not _FORWARD:
            return False
        weight, bias = self.weight, self.bias
        tensors = [x, weight, *([] if bias is None else [bias])]
        if any(type(each) not in (torch.Tensor, nn.Parameter) or each.device.type != "cpu" for each in tensors):
            return False
        if any(each.dtype is not x.dtype for each in tensors) or x.dtype not in DTYPES or _is_transformed():
            return False
        outputs, inputs = self.out_features, self.in_features
        if weight.shape != (outputs, inputs) or not weight.is_contiguous():
            return False
        if bias is not None and bias.shape != (outputs,):
            return False
        return 0 < x.numel() <= most_tokens * inputs and x.shape[-1] == inputs


def _is_transformed() -> bool:
    """Return whether torch computes another function than it is asked for: vmap, forward derivatives, autocast."""
    functorch: Any = torch._C._functorch  # type: ignore[attr-defined]
    in_dual = torch.autograd.forward_ad._current_level >= 0
    return functorch.peek_interpreter_stack() is not None or in_dual or torch.is_autocast_enabled("cpu")


@dataclass(frozen=True)
class _Rounded:
    """Rounded weights, and the state of the weights that they were made of."""

    weight: torch.Tensor
    place: int
    version: int  # -1: tensors that were made in inference mode do not count how often they are written
    sample: torch.Tensor
    codes: torch.Tensor
    scale: torch.Tensor


class RoundedHead(TokenHead):
    """A head that multiplies with its weights rounded to 8 bits, to nearest, with one scale for each output.

    `weight` stays as it is, since the embedding of tied models is the same tensor, and files are written from it. The
    rounded weights are made again after `weight` was replaced or written. A write through `weight.data` is seen if it
    changes one of `SAMPLED` weights, as adapters do that are merged; call `refresh` after others.

    Up to `MOST_TOKENS` tokens on a CPU read the rounded weights. For others, with gradients and on a GPU they are
    decoded at each product, which takes longer than a product with 16 bits.
    """

    _made: _Rounded | None = None

    def refresh(self) -> None:
        """Round the weights anew at the next product."""
        self._made = None

    def rounded(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the weights as int8 [out, in], and the scale of each output, f32 [out].

        The scale of an output with a weight that is not finite is NaN.
        """
        made, weight = self._made, self.weight
        if torch.compiler.is_compiling():  # states cannot be traced
            if made is not None and made.weight is weight and made.codes.device == weight.device:
                return made.codes, made.scale
            return _round(weight)
        version = -1 if weight.is_inference() else weight._version
        state = (weight.data_ptr(), version)
        sample = weight.detach().reshape(-1)[:: max(1, weight.numel() // SAMPLED)]
        if made is None or made.weight is not weight or (made.place, made.version) != state:
            made = None
        if made is None or not torch.equal(made.sample, sample):
            kept = sample.clone()  # before the weights are read: what is written meanwhile makes them anew
            made = self._made = _Rounded(weight, *state, kept, *_round(weight))  # one assignment, for other threads
        return made.codes, made.scale

    def __getstate__(self) -> dict[str, Any]:
        """Return what `copy` and `pickle` keep: the rounded weights are made again."""
        return self.__dict__ | {"_made": None}

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """Return x W^T + b with rounded weights, [..., in] -> [..., out], in the type of x; sums are float32.

        The gradient of the weights is that of the product with weights that are not rounded.
        """
        codes, scale = self.rounded()
        if self._is_computed_here(input, MOST_TOKENS):
            return self._in_compiled_code(input, rounded_record(codes.numpy(), scale.numpy(), self._bias()))
        x, bands = input.to(torch.float32), []
        with torch.autocast(input.device.type, enabled=False):
            for first in range(0, self.out_features, BAND):
                some = slice(first, first + BAND)
                weight = codes[some].to(torch.float32) * scale[some, None]
                if torch.is_grad_enabled() and self.weight.requires_grad:
                    own = self.weight[some].to(torch.float32)
                    weight = own + (weight - own).detach()
                bias = None if self.bias is None else self.bias[some].to(torch.float32)
                bands.append(nn.functional.linear(x, weight, bias))
        return torch.cat(bands, -1).to(input.dtype)


def _round(weight: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    with torch.no_grad():
        codes = torch.empty(weight.shape, dtype=torch.int8, device=weight.device)
        scale = torch.empty(weight.shape[0], dtype=torch.float32, device=weight.device)
        for first in range(0, weight.shape[0], BAND):
            some = slice(first, first + BAND)
            rows = weight[some].to(torch.float32)
            top = rows.abs().amax(1)
            step = torch.where(top == 0, torch.ones_like(top), top / 127)
            scale[some] = torch.where(top.isfinite(), step, torch.full_like(top, torch.nan))
            codes[some] = torch.nan_to_num(torch.round(rows / scale[some, None]), nan=0.0).to(torch.int8)
    return codes, scale


def attach_head(model: Any) -> None:
    """Let the head of a language model be a `TokenHead` if it is a plain linear layer with nothing in its way."""
    head = model.get_output_embeddings()
    if type(head) is nn.Linear and "forward" not in vars(head):
        head.__class__ = TokenHead


def check_head_bits(bits: object) -> None:
    """Refuse bits of the head that are not in `HEAD_BITS`.

    Raises:
        InputError: They are not.
    """
    if type(bits) is not int or bits not in HEAD_BITS:
        raise InputError(f"head_bits must be 8 or 16, not {bits!r}")


def round_head(model: Any, bits: int) -> None:
    """Let the head of a language model multiply with its weights in 8 bits; 16 leaves it.

    Raises:
        InputError: The head is not a linear layer, or not in memory.
    """
    head: Any = model.get_output_embeddings() if bits != 16 else None
    if bits == 16 or type(head) is RoundedHead:
        return
    if type(head) not in (nn.Linear, TokenHead):
        kind = "absent" if head is None else f"{type(head).__name__} and not a linear layer"
        raise InputError(f"head_bits must be 16 for this model, whose head is {kind}")
    if head.weight.device.type == "meta" or "forward" in vars(head):
        raise InputError(
            "head_bits must be 16 for a model whose head is not whole in memory, as device_map may leave it"
        )
    head.__class__ = RoundedHead
    head.rounded()
