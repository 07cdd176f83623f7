"""Elements and their columns, with areas counted by hand."""

from dataclasses import replace

import numpy as np
import pytest

from haloquant.accel.elements import FLOAT_AREA, column_area_m2, columns_that_fit, element_of
from haloquant.errors import InputError
from support.accel_cases import toy_profile
from support.near import near
from support.whole_elements import made_of


def test_registers_of_weight_shadow_and_activation_are_added() -> None:
    plain = element_of(made_of(list(range(-128, 128)), 50e-12, pins=12))
    assert plain.area_m2 == near(50e-12 + (2 * 12 + 8) * 1e-12)
    assert (plain.bits, plain.coded, plain.whole) == (8, True, True)
    four = element_of(made_of(list(range(-8, 8)), 30e-12, pins=4))
    assert (four.bits, four.coded) == (4, False)
    powers = element_of(made_of([-8, -4, -2, -1, 0, 1, 2, 4, 8], 20e-12, pins=5))
    assert (powers.bits, powers.coded) == (2, True)
    assert [each.passes(8) for each in (plain, four, powers)] == [1, 2, 4]
    assert not element_of(toy_profile()).whole


def test_columns_of_an_area() -> None:
    plain, four = (
        element_of(made_of(list(range(-128, 128)), 50e-12, 12)),
        element_of(made_of(list(range(-8, 8)), 30e-12, 4)),
    )
    # 128 elements of 82 and a decoder as large as one; no unit that scales
    assert column_area_m2(128, plain, plain, scaled=False) == near(129 * 82e-12)
    assert column_area_m2(128, four, plain, scaled=True) == near(128 * 46e-12 + FLOAT_AREA * 82e-12)
    area = 2 * 10.5 * 129 * 82e-12
    assert columns_that_fit(area, 128, 2, plain, plain, scaled=False) == 10
    assert columns_that_fit(area, 128, 2, four, plain, scaled=True) == 17  # 10.5 x 10578 / 6475
    with pytest.raises(InputError, match=r"^the area must be at least .* mm2 for 2 array\(s\) of one column"):
        columns_that_fit(1e-12, 128, 2, plain, plain, scaled=False)


def test_an_element_needs_an_area_and_the_value_0() -> None:
    whole = made_of([-1, 0, 1], 30e-12, pins=4)
    with pytest.raises(InputError, match=r"must hold its area to stand for an element"):
        element_of(replace(whole, area_m2=0.0))
    with pytest.raises(InputError, match=r"must hold the weight value 0 and another .*, not only -2, -1$"):
        element_of(made_of([-2, -1], 30e-12, pins=4))


def test_an_element_needs_energies() -> None:
    unknown = replace(toy_profile(), energy_j=np.full((1, 256), np.nan))
    with pytest.raises(InputError, match=r"^profile toy must hold energies to stand for an element"):
        element_of(unknown)


def test_activation_registers_and_multiples_of_a_dot_product_element() -> None:
    """By hand: two registers for each of 7 weight pins, 18 activation pins shared by 6 columns, 3a once a row."""
    profile = made_of([-2, -1, 0, 1, 2], 10e-12, pins=7)
    profile = replace(profile, provenance={**profile.provenance, "activation_pins": "18", "multiples_area_m2": "5e-12"})
    element, shared = element_of(profile), element_of(profile, bus=6)
    assert element.area_m2 == near(42e-12)
    assert shared.area_m2 == near(27e-12)
    assert shared.coded and shared.row_area_m2 == 5e-12
    plain = replace(element, area_m2=20e-12, coded=False, row_area_m2=0.0)
    # two arrays of 4 rows: 4 x 27 + 20 for the decoder = 128 a column, 20 once
    assert columns_that_fit(2 * (20 + 3 * 128) * 1e-12, 4, 2, shared, plain, scaled=False) == 3
    assert columns_that_fit(2 * (20 + 3 * 128 - 1) * 1e-12, 4, 2, shared, plain, scaled=False) == 2
