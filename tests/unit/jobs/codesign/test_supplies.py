"""Supplies of a search, and a profile at one of them, by hand."""

from dataclasses import replace

import numpy as np
import pytest

from haloquant.errors import InputError
from haloquant.jobs.codesign.supplies import supplies_of
from haloquant.store.targets import read_systolic
from support.machine_models import profile_of_a_known_law
from support.near import near
from support.whole_elements import made_of

TARGET = read_systolic("edge_lpddr5x")
FOUR = made_of(list(range(-8, 8)), 25e-12, 4)
SLOWER = 0.8 * (0.65 / 0.45) ** 1.3  # delay at 0.8 V over that at 1 V, by the assumed law


def test_supplies_go_down_to_what_the_law_covers() -> None:
    assert supplies_of(FOUR, TARGET).shares == near((1.0, 0.8, 0.6))
    measured = supplies_of(profile_of_a_known_law()[0], TARGET)
    assert measured.law.source.startswith("measured") and measured.shares[-1] == near(1.2 / 1.8)
    assert supplies_of(FOUR, TARGET, (0.8, 1.0, 0.8)).shares == (0.8, 1.0)
    for share in (0.5, 1.1):
        with pytest.raises(InputError, match=r"^a supply must be a share .* from 0.6, the lowest .*, to 1, not "):
            supplies_of(FOUR, TARGET, (share,))


def test_an_element_at_a_lower_supply() -> None:
    said = {**FOUR.provenance, "multiples_j": "5e-14", "library": "some"}
    profile = replace(FOUR, provenance=said, leakage_w=np.array([2e-9]))
    supplies = supplies_of(profile, TARGET)
    assert supplies.at(1.0) is None and supplies.lowered(profile, 1.0) is profile
    at = supplies.at(0.8)
    assert at is not None and (at.voltage_v, at.delay) == (near(0.8), near(SLOWER))
    low = supplies.lowered(profile, 0.8)
    assert low.corners[0].voltage_v == near(0.8 * profile.corners[0].voltage_v)
    assert low.delay_s == near(SLOWER * profile.delay_s) and low.energy_j == near(0.64 * profile.energy_j)
    assert low.leakage_w == near(np.array([1.6e-9]))
    assert float(low.provenance["multiples_j"]) == near(3.2e-14) and low.provenance["library"] == "some"
    assert low.provenance["supply"].startswith("0.8 of the measured one; ASSUMED")
