"""A weight value among all of a MAC's, and the MACs that can be named."""

from pathlib import Path

import numpy as np
import pytest

import haloquant
from haloquant.api.macs import circuits
from haloquant.api.macs.profiles import describe_profile
from haloquant.errors import InputError
from haloquant.store.profiles import find_profile


def test_the_rank_of_a_value_is_its_place_among_all() -> None:
    profile, (delay, energy) = circuits.rank_weight("default", 0)
    values = find_profile("default").delay_s[0]
    own = values[profile.weights == 0][0]
    assert delay.value == own and delay.rank == 1 + np.count_nonzero(values < own)
    assert delay.of_most == own / values.max() and delay.values == 256
    assert energy.unit == "J" and energy.rank >= 1
    assert circuits.rank_weight("default", 8.0)[1] == circuits.rank_weight("default", 8)[1]
    (point,) = describe_profile("default", words=(0, 8.0)).points
    assert point.values.tolist() == [0, 8]


def test_a_mac_is_named_or_has_its_ports_declared(tmp_path: Path) -> None:
    assert circuits.DEFAULT_MAC in circuits.mac_names()
    assert circuits.find_mac(circuits.DEFAULT_MAC).name == circuits.DEFAULT_MAC
    with pytest.raises(InputError, match="the MAC must be named <rows><tree>_<adder>-<stage>"):
        haloquant.characterize("boothx", "cells.lib")
    with pytest.raises(InputError, match=r"mac\.v"):
        haloquant.characterize(tmp_path / "mac.v", "cells.lib", ports=tmp_path / "mac.toml")


def test_a_cell_library_is_needed() -> None:
    with pytest.raises(InputError, match="characterize needs a cell library"):
        haloquant.characterize()
    with pytest.raises(InputError, match=r"period_s must be 1e-12 to 0\.001, not 0"):
        haloquant.characterize("boothwdadda_bk-mul", "cells.lib", period_s=0.0)
