"""haloquant: hardware-aware quantization of language models."""

from importlib.metadata import version

__version__ = version("haloquant")
