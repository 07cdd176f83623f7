"""`haloquant.api.schedule`: one row for each order of the tiles."""

import pytest

from haloquant.api import schedule
from haloquant.errors import InfeasibleError

pytestmark = pytest.mark.usefixtures("one_layer")


def test_an_order_that_cannot_run_is_a_row_beside_others_and_an_error_alone() -> None:
    found = schedule("opt-1.3b", prefill_tokens=64)
    assert len(found.rows) == 10 and len(found.simulations) == 8
    assert {row.policy for row in found.rows if row.cannot} == {"islands"}
    with pytest.raises(InfeasibleError, match="islands need at least one array"):
        schedule("opt-1.3b", policy="islands", prefill_tokens=64)
