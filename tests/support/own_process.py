"""Python code in a process of its own, for what must be chosen before an import (Triton's interpreter)."""

import os
import subprocess
import sys
import textwrap
from collections.abc import Sequence


def run(
    code: str, arguments: Sequence[str] = (), timeout: float = 280, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run the code with these arguments, and with these variables of the environment added."""
    return subprocess.run(
        [sys.executable, "-W", "ignore", "-c", textwrap.dedent(code), *arguments],
        capture_output=True,
        text=True,
        env=os.environ | environment,
        timeout=timeout,
    )
