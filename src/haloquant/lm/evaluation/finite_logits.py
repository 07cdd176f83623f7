"""Refuse logits that are no numbers while another program evaluates a model; its metrics would hide them."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from haloquant.errors import InputError


@contextmanager
def finite_logits(model: torch.nn.Module) -> Iterator[None]:
    """Within the block, every forward pass of `model` whose logits hold NaN is an error.

    Infinite logits are allowed, because some models exclude tokens by minus infinity.

    Raises:
        InputError: A logit is NaN.
    """

    def look(_module: torch.nn.Module, _args: Any, output: Any) -> None:
        logits = output.logits
        if bool(torch.isnan(logits).any()):
            kind = str(logits.dtype).removeprefix("torch.")
            raise InputError(
                f"the model must give logits that are numbers, and computed in {kind} some are NaN: a weight is "
                "damaged, or values pass the range of this type"
            )

    handle = model.register_forward_hook(look)
    try:
        yield
    finally:
        handle.remove()
