"""What README.md and docs/stages/fair-machines.md say of processing elements, from the shipped profiles."""

from dataclasses import dataclass

import numpy as np
import pytest

from haloquant.accel.elements import element_of
from haloquant.store.profiles import find_profile
from support.near import near

NINE = (0, 8, -8, 16, -16, 32, -32, 64, -64)
INT4 = tuple(range(-128, 128, 16))


@dataclass(frozen=True)
class Figures:
    """Slowest delay in ps, mean energy in fJ, and area in square micrometres with the registers beside the element."""

    delay: float
    energy: float
    area: float

    @property
    def product(self) -> float:
        return self.delay * self.energy * self.area


def figures(name: str, words: tuple[int, ...] = (), library: str = "asap7") -> Figures:
    mac = find_profile(f"{library}-{name}-abc")
    at = np.isin(mac.weights, words) if words else np.ones(mac.weights.size, bool)
    assert at.sum() == (len(words) or mac.weights.size)
    energy = float(mac.energy_j[0][at].mean())
    return Figures(float(mac.delay_s[0][at].max()) * 1e12, energy * 1e15, element_of(mac).area_m2 * 1e12)


def test_a_plain_element_does_all_values_at_the_clock_of_the_nine_words() -> None:
    plain, bypass = figures("digitsdadda-cs4"), figures("digitsdadda_ks+lone-reg", NINE)
    assert (plain.delay, bypass.delay) == (near(183, abs=0.5), near(177, abs=0.5))
    assert plain.area / bypass.area == near(0.79, abs=0.005)
    quiet = figures("digitsdadda-cs4", NINE)
    assert bypass.energy / quiet.energy == near(0.85, abs=0.01)
    assert bypass.product / quiet.product == near(1.07, abs=0.01)


def test_a_native_element_does_int4_at_that_clock_in_less_area() -> None:
    four, plain, bypass = (
        figures("digitsdaddaw4a8-cs4"),
        figures("digitsdadda-cs4", INT4),
        figures("digitsdadda_ks+lone-reg"),
    )
    assert four.delay == near(179, abs=0.5) and four.delay <= plain.delay
    assert four.area / plain.area == near(0.74, abs=0.005)
    assert four.area / bypass.area == near(0.58, abs=0.005)
    assert four.energy / plain.energy == near(0.91, abs=0.01)


def test_a_bypass_on_a_redundant_product_buys_nothing() -> None:
    bypass, plain = figures("digitsdadda+lone-cs4", NINE), figures("digitsdadda-cs4", NINE)
    assert bypass.delay == near(plain.delay, rel=0.01)
    assert bypass.energy > plain.energy and bypass.area > 1.2 * plain.area


def test_words_of_one_digit_on_their_own_unit() -> None:
    one, four = figures("onedigitw4a8-cs4"), figures("digitsdaddaw4a8-cs4")
    assert four.delay / one.delay == near(1.27, abs=0.005)
    assert one.product / four.product == near(0.54, abs=0.005)


@pytest.mark.parametrize(
    ("library", "wanted", "ratio"),
    [
        ("nangate45", [(293, 974, 1771), (283, 656, 1317), (229, 539, 1018)], 0.51),
        ("sky130hd", [(884, 5136, 7633), (957, 3452, 5526), (815, 2540, 4309)], 0.49),
    ],
)
def test_elements_of_the_other_libraries(library: str, wanted: list[tuple[int, ...]], ratio: float) -> None:
    names = ("digitsdadda-cs4", "digitsdaddaw4a8-cs4", "onedigitw4a8-cs4")
    found = [figures(name, library=library) for name in names]
    assert [(round(each.delay), round(each.area), round(each.energy)) for each in found] == wanted
    assert found[2].product / found[1].product == near(ratio, abs=0.005)


@pytest.mark.parametrize(
    ("library", "nine", "every", "alone"),
    [
        ("nangate45", [(293, 974, 1439), (249, 1521, 1231), (296, 1150, 1373)], [(438, 2066), (369, 1792)], 1.13),
        ("sky130hd", [(884, 5136, 6394), (893, 7158, 4749), (957, 6675, 6093)], [(1514, 7822), (1023, 7631)], 1.04),
    ],
)
def test_bypasses_of_the_other_libraries(
    library: str, nine: list[tuple[int, ...]], every: list[tuple[int, ...]], alone: float
) -> None:
    names = ("digitsdadda-cs4", "digitsdadda_ks+lone-reg", "digitsdadda+lone-cs4")
    few = [figures(name, NINE, library) for name in names]
    assert [(round(each.delay), round(each.area), round(each.energy)) for each in few] == nine
    found = [figures(name, library=library) for name in names[1:]]
    assert [(round(each.delay), round(each.energy)) for each in found] == every
    assert few[1].product / few[0].product == near(alone, abs=0.006)


DOTS = {  # Booth INT4's figures, and area x delay x energy of int4m, e2m1 and onedigit over its
    "nangate45": {
        "x1": ((285, 535, 1023), [0.66, 0.61, 0.50]),
        "x4": ((353, 333, 543), [0.92, 0.77, 0.51]),
        "x8c4": ((355, 321, 544), [0.74, 0.63, 0.44]),
        "x16c4": ((471, 283, 465), [0.86, 0.67, 0.40]),
    },
    "sky130hd": {
        "x1": ((880, 2890, 4638), [0.63, 0.57, 0.47]),
        "x4": ((1253, 1667, 2167), [0.83, 0.73, 0.51]),
        "x8c4": ((1168, 1680, 2090), [0.77, 0.66, 0.48]),
        "x16c4": ((1586, 1485, 1806), [0.83, 0.69, 0.41]),
    },
}


@pytest.mark.parametrize(("library", "products"), [(library, each) for library, made in DOTS.items() for each in made])
def test_dot_products_of_the_other_libraries(library: str, products: str) -> None:
    """Areas with the registers of the static weights alone."""
    booth4, over = DOTS[library][products]
    made: list[Figures] = []
    for kind in ("booth4", "int4m", "e2m1", "onedigit"):
        mac = find_profile(f"{library}-{kind}{products}-dot-abc")
        weights_m2 = int(mac.provenance["weight_pins"]) * float(mac.provenance["register_area_m2"])
        energy, delay = float(mac.energy_j[0].mean()), float(mac.delay_s[0].max())
        made.append(Figures(delay * 1e12, energy * 1e15, (mac.area_m2 + weights_m2) * 1e12))
    first = made[0]
    assert (round(first.delay), round(first.area), round(first.energy)) == booth4
    assert [each.product / first.product for each in made[1:]] == near(over, abs=0.006)
