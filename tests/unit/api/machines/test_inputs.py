"""The arguments that all simulations of a machine share."""

import pytest

import haloquant
from haloquant.errors import InputError

pytestmark = pytest.mark.usefixtures("one_layer")


def test_counts_are_checked() -> None:
    with pytest.raises(InputError, match="prefill_tokens must be a whole number from 1 to 16777216, not 0"):
        haloquant.simulate("opt-1.3b", prefill_tokens=0)
    with pytest.raises(InputError, match="batch must be a whole number from 1 to 65536, not -1"):
        haloquant.simulate("opt-1.3b", batch=-1)
