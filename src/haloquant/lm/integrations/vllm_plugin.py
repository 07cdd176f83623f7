"""The entry point `vllm.general_plugins`, which registers the method "halo" with vLLM.

It was tested with the layers and the weight loader of vLLM 0.33, and once by hand in an engine of vLLM 0.32 on a CPU.
It has not been tested on a GPU.
"""

from importlib import import_module
from importlib.util import find_spec

from haloquant.errors import MissingExtraError


def register() -> None:
    """Register the method with vLLM. It may be called more than once, since vLLM calls plugins in every process.

    Raises:
        MissingExtraError: VLLM is not installed.
    """
    if find_spec("vllm") is None:
        raise MissingExtraError("serving a packed model in vLLM needs vLLM itself: pip install vllm")
    import_module("haloquant.lm.integrations.vllm")
