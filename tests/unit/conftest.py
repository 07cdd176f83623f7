"""What tests of several packages need."""

from pathlib import Path

import pytest

from support.mapping_library import mapping_library_text


@pytest.fixture(scope="session")
def liberty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small cell library that Yosys maps to; without Yosys the test is skipped."""
    from haloquant.eda.yosys import find_yosys
    from haloquant.errors import ToolError

    try:
        find_yosys()
    except ToolError as error:
        pytest.skip(f"needs Yosys: {error}")
    path = tmp_path_factory.mktemp("liberty") / "mapping.lib"
    path.write_text(mapping_library_text())
    return path
