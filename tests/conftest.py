"""Shared fixtures. Shapes in annotations are checked at run time by beartype through jaxtyping's import hook."""

import os
from pathlib import Path

from jaxtyping import install_import_hook

# Two test processes share two cores: threads inside them would only wait for each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")
_hook = install_import_hook("haloquant", "beartype.beartype")

import pytest  # noqa: E402

SHARED = Path(__file__).resolve().parents[2] / "shared"


@pytest.fixture(scope="session")
def shared() -> Path:
    """The development data beside the project; tests that need it are skipped without it."""
    if not (SHARED / "data").is_dir():
        pytest.skip(f"needs the development data in {SHARED}, which is absent here")
    return SHARED
