"""Shared fixtures. Types and array shapes in annotations are checked at run time (support/shape_checks.py)."""

import os
import re
import socket
import sys
from collections.abc import Callable
from pathlib import Path

from support.draws import ALL
from support.shape_checks import install

# Two test processes share two cores: threads inside them would only wait for each other. So torch and BLAS have one
# thread, and numba has one unless a test asks for more (below).
os.environ.setdefault("OMP_NUM_THREADS", "1")
# Dozens of processes import the same modules. Python keeps their bytecode, also where the environment forbids it.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False
# No file of a test has to outlive a power failure, and waiting for the disk took a tenth of the time of the tests.
if os.environ.get("HALOQUANT_TEST_DRAWS") != "nightly":
    os.fsync = lambda fd: None
if os.environ.get("HALOQUANT_TEST_SHAPES") != "off":
    install("haloquant")

import hypothesis  # noqa: E402
import numba  # noqa: E402
import pytest  # noqa: E402
from threadpoolctl import threadpool_limits  # noqa: E402

# Numba starts its threads here, and OpenMP then has as many for torch, which gets one again.
numba.set_num_threads(1)
threadpool_limits(1, "openmp")

# A gate gives the same verdict on the same code: it draws the same examples every time. scripts/nightly draws new ones.
hypothesis.settings.register_profile("gate", derandomize=True)
hypothesis.settings.register_profile("all", derandomize=True)  # all cases of the tests marked `thinned`
hypothesis.settings.register_profile("nightly", derandomize=False, print_blob=True)
hypothesis.settings.load_profile(os.environ.get("HALOQUANT_TEST_DRAWS", "gate"))

DATA = Path(__file__).resolve().parent / "data"
OUTSIDE = os.environ.get("HALOQUANT_TEST_DATA", "")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out the tests marked `seldom` unless all are asked for."""
    if not ALL:
        seldom = [item for item in items if item.get_closest_marker("seldom")]
        config.hook.pytest_deselected(items=seldom)
        items[:] = [item for item in items if item not in set(seldom)]


@pytest.fixture(scope="session", autouse=True)
def workers_import_what_they_need() -> None:
    """A pool's server of workers imports what its parent has imported, and that is everything after some tests."""
    pool = sys.modules.get("haloquant.jobs.engine.local_pool")
    if pool is not None:
        vars(pool)["_IMPORTED_ONCE"] = re.compile(r"haloquant\.(jobs\.quantize\.layer_tasks|lm\.torch_model)$")


@pytest.fixture(scope="session")
def find_data() -> Callable[[str], Path]:
    """Finds a file or folder of test data by its name, such as "text/tinystories_valid.txt.xz".

    It is looked for in tests/data first, then in data/ under the folder that HALOQUANT_TEST_DATA names. A test that
    asks for what is in neither is skipped. tests/data/README.md says what is where and why.
    """

    def find(name: str) -> Path:
        folders = [DATA, *([Path(OUTSIDE) / "data"] if OUTSIDE else [])]
        for folder in folders:
            if (folder / name).exists():
                return folder / name
        pytest.skip(
            f"needs {name}, which is not part of the project; HALOQUANT_TEST_DATA names a folder that holds data/{name}"
        )

    return find


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    """Any attempt to leave this machine is a failure."""

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("the network was asked")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
