"""`pytest.approx` for quantities in SI units.

Its default absolute tolerance of 1e-12 is a thousand femtojoules, a picosecond, a picofarad: with it many comparisons
of this project's circuits would pass whatever was computed.
"""

from typing import Any

import pytest


def near(expected: Any, rel: float = 1e-6, abs: float = 0.0) -> Any:
    """Equal within a relative tolerance, and within an absolute one only where one is given."""
    return pytest.approx(expected, rel=rel, abs=abs)
