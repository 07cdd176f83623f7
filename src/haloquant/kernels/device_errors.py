"""Errors of a GPU as sentences for users. It needs no torch: the errors are known by their names and texts."""

from collections.abc import Iterator
from contextlib import contextmanager

from haloquant.errors import InfeasibleError, ToolError, first_line

_MEMORY, _FAILED = "OutOfMemoryError", "AcceleratorError"  # names of torch's classes
_WORDS = ("CUDA", "cuBLAS", "CUBLAS", "cuSOLVER", "CUSOLVER", "Triton Error")  # in the text of other RuntimeErrors


@contextmanager
def explained(what: str, device: str) -> Iterator[None]:
    """Turn a failure of a GPU within the `with` block into an error for users.

    Args:
        what: what was being done, such as "rounding model.layers.0.mlp.up_proj".
        device: torch's name of the device.

    Raises:
        InfeasibleError: The device had too little free memory.
        ToolError: The device failed.
    """
    try:
        yield
    except RuntimeError as error:
        name, text = type(error).__name__, str(error)
        if name == _MEMORY:
            raise InfeasibleError(
                f"{what} must have more free memory on {device}: {first_line(error)}; end what else runs there, or "
                "quantize on the CPU (--device cpu); finished layers are kept, and the same command goes on after them"
            ) from error
        if name == _FAILED or any(word in text for word in _WORDS):
            raise ToolError(
                f"the device {device} failed while {what}: {first_line(error)}; finished layers are kept, and the same "
                "command goes on after them"
            ) from error
        raise
