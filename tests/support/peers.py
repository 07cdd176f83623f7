"""Programs of others that judge ours where they are installed.

`scripts/test-peers` sets HALOQUANT_REQUIRE_PEERS: there a missing one is a failure. Elsewhere it is a skip.
"""

import importlib
import os
import warnings
from types import ModuleType

import pytest


def peer(module: str, package: str) -> ModuleType:
    """The module of a peer; the test is skipped, or fails where peers are required, if it cannot be imported."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if os.environ.get("HALOQUANT_REQUIRE_PEERS"):
            return importlib.import_module(module)
        return pytest.importorskip(module, reason=f"{package} is not installed here; scripts/test-peers has it")
