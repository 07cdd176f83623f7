"""Programs of cross-checks: their output, their failure, their time limit with all that they started."""

import os
import sys
import time
from pathlib import Path

import pytest

from haloquant.eda.crosscheck.processes import run_program
from haloquant.errors import ToolError


def _python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


def test_the_output_is_returned_and_the_folder_is_the_working_directory(tmp_path: Path) -> None:
    assert run_program(_python("import os; print(os.getcwd())"), tmp_path, 60.0, "judge").strip() == str(tmp_path)


def test_a_failure_shows_the_first_lines_of_what_was_said(tmp_path: Path) -> None:
    code = "import sys; print('plain'); print('one\\ntwo\\nthree\\nfour', file=sys.stderr); sys.exit(3)"
    with pytest.raises(ToolError, match=r"^judge failed with exit code 3: one \| two \| three$"):
        run_program(_python(code), tmp_path, 60.0, "judge")
    with pytest.raises(ToolError, match=r"^judge failed with exit code 1: plain$"):
        run_program(_python("print('plain'); raise SystemExit(1)"), tmp_path, 60.0, "judge")


def test_a_program_over_its_limit_ends_with_the_processes_that_it_started(tmp_path: Path) -> None:
    with pytest.raises(ToolError, match=r"^judge must finish within 1 s, and did not; give it less to do or"):
        run_program(["/bin/sh", "-c", "sleep 60 & echo $! > child; wait"], tmp_path, 1.0, "judge")
    child = int((tmp_path / "child").read_text())
    for _ in range(100):
        state = Path(f"/proc/{child}/stat")
        if not state.exists() or state.read_text().split()[2] == "Z":
            break
        time.sleep(0.05)
    else:
        os.kill(child, 9)
        pytest.fail("the child still runs")
