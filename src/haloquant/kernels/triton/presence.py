"""Whether Triton is installed. This module does not import it."""

from functools import cache
from importlib.util import find_spec


@cache
def has_triton() -> bool:
    """Return whether Triton is installed."""
    return find_spec("triton") is not None
