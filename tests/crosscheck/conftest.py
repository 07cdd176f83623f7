"""Programs that several cross-checks run."""

from typing import Any

import pytest


@pytest.fixture(scope="session")
def icarus() -> Any:
    """Icarus Verilog; without it the test is skipped."""
    from haloquant.eda.crosscheck.icarus import find_icarus
    from haloquant.errors import ToolError

    try:
        return find_icarus()
    except ToolError as error:
        pytest.skip(str(error))
