"""Whether tensors are still those from which something was computed."""

from collections.abc import Mapping

import torch


class TensorState:
    """Named tensors at one moment: which objects they were, where their memory was, and how often it was written.

    Tensors that were made in inference mode do not count how often they are written. A state of them never holds.
    """

    def __init__(self, tensors: Mapping[str, torch.Tensor]) -> None:
        """Take the state of these tensors now."""
        self._counted = not any(tensor.is_inference() for tensor in tensors.values())
        self._seen = [(name, t, t.data_ptr(), t._version if self._counted else -1) for name, t in tensors.items()]

    def holds(self, tensors: Mapping[str, torch.Tensor | None]) -> bool:
        """Return whether the tensors of the same names are the same objects, and none was moved or written since.

        Every product with a packed layer asks this, so it is a plain loop.
        """
        if not self._counted:
            return False
        for name, tensor, place, version in self._seen:
            if tensors.get(name) is not tensor or tensor._version != version or tensor.data_ptr() != place:
                return False
        return True

    def was_written(self, tensors: Mapping[str, torch.Tensor | None]) -> bool:
        """Return whether one of these is still the same object but was written in place, or may have been."""
        return not self._counted or any(
            tensors.get(name) is tensor and (tensor._version != version or tensor.data_ptr() != place)
            for name, tensor, place, version in self._seen
        )
