"""The `gguf` package: the types of tensors and the functions that de-quantize them."""

from functools import cache
from typing import Any

from haloquant.errors import MissingExtraError


@cache
def gguf_package() -> Any:
    """Return the module `gguf`.

    Raises:
        MissingExtraError: It is not installed.
    """
    try:
        import gguf
    except ImportError as error:
        raise MissingExtraError("GGUF files need the gguf package: pip install 'haloquant[gguf]'") from error
    return gguf
