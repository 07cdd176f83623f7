"""The ABC script of a synthesis, by name or chosen."""

import pytest

from haloquant.errors import InputError
from haloquant.jobs.mac.profile_building import choose_script


def test_scripts() -> None:
    assert (choose_script(None, False), choose_script(None, True), choose_script("depth", True)) == (
        "balance",
        "keep",
        "depth",
    )
    with pytest.raises(
        InputError, match=r"^the ABC script must be one of depth, choices, balance, sharing, keep, not 'fast'$"
    ):
        choose_script("fast", False)
