"""haloquant: hardware-aware quantization of language models.

Importing it also tells transformers, if and when that is imported, how packed HALO models are loaded.
"""

from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from haloquant.lm.integrations.import_hook import register_with_transformers

if TYPE_CHECKING:
    from haloquant.lm.packed.loading import load
    from haloquant.lm.packed.reader import verify

__version__ = version("haloquant")
__all__ = ["__version__", "load", "verify"]

register_with_transformers()


def __getattr__(name: str) -> Any:
    """`load` and `verify`, imported when they are first asked for, so that `import haloquant` stays quick and light."""
    if name == "load":
        from haloquant.lm.packed.loading import load

        return load
    if name == "verify":
        from haloquant.lm.packed.reader import verify

        return verify
    raise AttributeError(f"module 'haloquant' has no attribute {name!r}")
