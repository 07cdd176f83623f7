"""The entry point `vllm.general_plugins`: tells vLLM of the method "halo".

Tried in vLLM 0.33's own layers and weight loader, and by hand once in an engine of vLLM 0.32, on a CPU; on no GPU yet.
"""

from importlib import import_module
from importlib.util import find_spec

from haloquant.errors import MissingExtraError


def register() -> None:
    """Register the method with vLLM; twice does no harm (vLLM calls plugins in every process).

    Raises:
        MissingExtraError: vLLM is not installed.
    """
    if find_spec("vllm") is None:
        raise MissingExtraError("serving a packed model in vLLM needs vLLM itself: pip install vllm")
    import_module("haloquant.lm.integrations.vllm")
