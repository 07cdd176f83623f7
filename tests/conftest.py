"""Shared fixtures. Shapes in annotations are checked at run time by beartype through jaxtyping's import hook."""

import os
import socket
from pathlib import Path

from jaxtyping import install_import_hook

# Two test processes share two cores: threads inside them would only wait for each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")
_hook = install_import_hook("haloquant", "beartype.beartype")

import hypothesis  # noqa: E402
import pytest  # noqa: E402

# A gate gives the same verdict on the same code: it draws the same examples every time. scripts/nightly draws new ones.
hypothesis.settings.register_profile("gate", derandomize=True)
hypothesis.settings.register_profile("nightly", derandomize=False, print_blob=True)
hypothesis.settings.load_profile(os.environ.get("HALOQUANT_TEST_DRAWS", "gate"))

SHARED = Path(__file__).resolve().parents[2] / "shared"


@pytest.fixture(scope="session")
def shared() -> Path:
    """The development data beside the project; tests that need it are skipped without it."""
    if not (SHARED / "data").is_dir():
        pytest.skip(f"needs the development data in {SHARED}, which is absent here")
    return SHARED


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    """Any attempt to leave this machine is a failure."""

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("the network was asked")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
