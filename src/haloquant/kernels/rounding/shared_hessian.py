"""The Hessian that some rows of a layer share, on the device, with its factor."""

from functools import cached_property

import numpy as np
import torch

from haloquant.kernels.device_copies import to_device
from haloquant.kernels.rounding.factorization import TorchFactor, factorize
from haloquant.quant.hessian import layer_hessian
from haloquant.quant.rounding.layer_rounder import DAMPING
from haloquant.records import LayerStatistics

_COLUMNS = 4096  # of a product with the Hessian, so that the product is not as large as the error


class SharedHessian:
    """A Hessian. It is copied to the device when it is first needed, and factored once for all classes."""

    def __init__(self, statistics: LayerStatistics, layer: str, device: torch.device) -> None:
        self._statistics, self._layer, self._device = statistics, layer, device

    @cached_property
    def matrix(self) -> torch.Tensor:
        """The Hessian on the device, float32 [in, in]."""
        return to_device(self._known, self._device)

    @cached_property
    def factor(self) -> TorchFactor:
        """Its factor."""
        return factorize(self.matrix, DAMPING, self._layer)

    @property
    def diagonal(self) -> np.ndarray:
        """Its diagonal, float32 [in]."""
        return np.diagonal(self._known)

    @property
    def trace(self) -> float:
        """The sum of its diagonal."""
        return float(self.diagonal.sum(dtype=np.float64))

    def times(self, error: torch.Tensor) -> torch.Tensor:
        """Return error H, float32 [rows, in]."""
        found = torch.empty_like(error)
        for low in range(0, error.shape[1], _COLUMNS):
            found[:, low : low + _COLUMNS] = error @ self.matrix[:, low : low + _COLUMNS]
        return found

    def release(self) -> None:
        """Free the device's memory."""
        for name in ("matrix", "factor"):
            self.__dict__.pop(name, None)

    @property
    def _known(self) -> np.ndarray:
        return layer_hessian(self._statistics, method="rounding")
