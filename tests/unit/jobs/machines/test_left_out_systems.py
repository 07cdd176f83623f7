"""Systems of which not one column fits an area: by hand, in toy elements of 82 and 41 um2."""

import pytest

from haloquant.accel.elements import FLOAT_AREA, element_of
from haloquant.errors import InputError
from haloquant.jobs.machines.element_systems import floating_system, systems_on
from haloquant.jobs.machines.left_out_systems import left_out_notes, systems_that_fit
from haloquant.units import least
from support.machine_models import LOADED
from support.near import near
from support.whole_elements import made_of

EIGHT = element_of(made_of(list(range(-128, 128)), 50e-12, 12))
FOUR = element_of(made_of(list(range(-8, 8)), 25e-12, 4))
SYSTEMS = [floating_system(EIGHT), *systems_on(LOADED, EIGHT), *systems_on(LOADED, FOUR)]
# Square micrometres of one column of 16 elements: its decoder is as large as a plain element, and so on.
UNSCALED, SCALED = 17 * 82.0, (17 + FLOAT_AREA) * 82
NARROW, FLOATING = 16 * 41 + FLOAT_AREA * 82, 16 * FLOAT_AREA * 82


def test_what_fits_keeps_its_order_and_the_rest_has_a_reason() -> None:
    kept, left_out = systems_that_fit(SYSTEMS, 2 * 1300e-12, 16, 2, EIGHT)
    assert [(each.name, each.element) for each in kept] == [("W4A8", FOUR), ("W3A8", FOUR)]
    assert [(each.system, each.element, each.whole_system) for each in left_out] == [
        ("W8A8", "of256", True), ("W4A8", "of256", False), ("W3A8", "of256", False), ("HALO", "of256", True),
        ("FP16", "cited, 7.2 x of256", True),
    ]  # fmt: skip
    areas = [UNSCALED, SCALED, SCALED, SCALED, FLOATING]
    assert [each.least_area_m2 for each in left_out] == near([2e-12 * area for area in areas])
    assert left_out[0].reason == "one column in each array takes 0.002788 mm2"
    assert left_out_notes(left_out, 2 * 1300e-12) == (
        "new silicon leaves W8A8 out: on of256, its smallest element, one column in each array takes 0.002788 mm2, and "
        "the arrays have 0.0026 mm2",
        "new silicon leaves HALO out: on of256, its smallest element, one column in each array takes 0.003963 mm2, and "
        "the arrays have 0.0026 mm2",
        "new silicon leaves FP16 out: on cited, 7.2 x of256, its smallest element, one column in each array takes "
        "0.01879 mm2, and the arrays have 0.0026 mm2",
        "new silicon leaves out elements of which not one column fits: of256 (W4A8, W3A8)",
    )


def test_everything_fits_a_large_area_and_nothing_a_tiny_one() -> None:
    assert systems_that_fit(SYSTEMS, 1e-8, 16, 1, EIGHT) == (SYSTEMS, ())
    assert left_out_notes((), 1e-8) == ()
    smallest = least(NARROW / 1e6)
    with pytest.raises(InputError, match=rf"^the area must be at least {smallest} mm2 for 1 array\(s\) of one column"):
        systems_that_fit(SYSTEMS, 1e-12, 16, 1, EIGHT)
