"""Which kernel runs a packed layer: one door for all devices."""

import torch

from haloquant.kernels import reference
from haloquant.kernels.layer import PackedLayer


def linear(x: torch.Tensor, layer: PackedLayer) -> torch.Tensor:
    """Y = x W^T in the type of x, [..., in] -> [..., out]."""
    return reference.linear(x, layer)
