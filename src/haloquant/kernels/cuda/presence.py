"""Whether kernels in CUDA C++ can be compiled and launched. This module imports neither torch nor the compiler."""

from functools import cache
from importlib.util import find_spec


@cache
def has_cuda_core() -> bool:
    """Return whether `cuda.core` is installed, NVIDIA's library that compiles and launches kernels."""
    try:
        return find_spec("cuda.core") is not None and find_spec("cuda.bindings") is not None
    except ModuleNotFoundError:  # there is no package `cuda` at all
        return False
