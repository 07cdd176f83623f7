"""haloquant: hardware-aware quantization of language models.

The most used functions of `haloquant.api` are attributes of this package; each is imported at its first use. Importing
the package also registers packed HALO models with transformers, at once or when transformers is imported, and lets
renamed modules be imported by their old names.
"""

from typing import Any

import lazy_loader

from haloquant.deprecated_names import find_old_names
from haloquant.lm.integrations.import_hook import register_with_transformers

_load, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)


def __getattr__(name: str) -> Any:
    """Import and return an attribute at its first use.

    Raises:
        MissingExtraError: It needs a package that is not installed; the text names the extra.
    """
    try:
        return _load(name)
    except ModuleNotFoundError as error:
        from haloquant.errors import missing_extra

        raise (missing_extra(error) or error) from error


register_with_transformers()
find_old_names()
