"""The entry point `vllm.general_plugins`: tells vLLM of the method "halo".

Written against vLLM's public interface and tested against a stand-in of it; not yet run in vLLM itself.
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
    import_module("haloquant.lm.vllm_method")
