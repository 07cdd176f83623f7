"""Processing elements that an array can be built of, and the decoder and the scaling unit of each column.

An element is a processing element described by a complete profile: one that includes product registers, accumulator,
partial-sum registers and setup. Registers that no profile holds are added to its area: the weight and its shadow, so
that the next tile loads while this one runs, and the activation that moves on to the next column. A column also has a
decoder if the stored code of a weight is not what the pins take. It has a unit that scales its sums if every tile has
scales of its own.
"""

import math
from dataclasses import dataclass

from haloquant.accel.cost_model.layer_work import mean_energy_j
from haloquant.dvfs.operating_points import check_integer_weights
from haloquant.errors import InputError
from haloquant.records import MacProfile
from haloquant.units import least

# A 16-bit floating-point multiply and add over an 8-bit integer multiply and a 32-bit add, in 45 nm: 1,640 and 1,360
# over 282 and 137 square micrometres; 1.1 and 0.4 over 0.2 and 0.1 pJ (Horowitz, ISSCC 2014, and its slides).
FLOAT_AREA = 3000 / 419
FLOAT_ENERGY = 5.0
_CAPACITY = {8: 127, 4: 7, 3: 3}  # by bits: the largest magnitude of their symmetric words


@dataclass(frozen=True)
class Element:
    """A processing element.

    `area_m2` holds the registers of weight and activation, too. `bits` is the width of the widest symmetric integer
    that it multiplies in one pass (2 where its words are no such integers). `coded` means that its weight pins take
    another code than the stored one. `whole` is false for a profile that lacks a part of an element; its area, delay
    and energy are then too low. `row_area_m2` is what a row of an array holds once, such as adders that make multiples
    of the activation. For a dot-product element all figures are those of one product. A
    floating-point element is `floating`; it multiplies no integers.
    """

    profile: MacProfile
    area_m2: float
    bits: int
    coded: bool
    whole: bool
    row_area_m2: float = 0.0
    floating: bool = False

    @property
    def slowest_s(self) -> float:
        """Delay in s of its slowest weight value."""
        return float(self.profile.delay_s[0].max())

    @property
    def mean_j(self) -> float:
        """Energy in J of an operation, the mean over its weight values."""
        return mean_energy_j(self.profile, 0)

    def passes(self, bits: int) -> int:
        """Return how many passes a weight of `bits` bits takes: its digits are multiplied one after the other."""
        return max(1, math.ceil(bits / self.bits))


def is_whole(profile: MacProfile) -> bool:
    """Return whether a profile holds a whole processing element: registers, accumulator and setup, too."""
    return "element" in profile.provenance


def is_floating(profile: MacProfile) -> bool:
    """Return whether a profile is that of a floating-point element."""
    return "floating" in profile.provenance


def element_of(profile: MacProfile, bus: int = 1) -> Element:
    """Return the element that a profile describes.

    Args:
        profile: The profile.
        bus: Columns that share one register of an activation; 1 hands the activation from column to column.

    Raises:
        InputError: The profile lacks the value 0 or any other, has no energy or no area, or holds 8-bit floats.
    """
    check_integer_weights(profile)
    if not math.isfinite(mean_energy_j(profile, 0)):
        raise InputError(
            f"profile {profile.name} must hold energies to stand for an element; characterize it with them"
        )
    if not profile.area_m2 > 0:
        raise InputError(
            f"profile {profile.name} must hold its area to stand for an element; characterize it with a library that "
            "gives areas"
        )
    floating = is_floating(profile)
    values: set[int] = set() if floating else set(profile.weights.tolist())
    bits = next((b for b, most in _CAPACITY.items() if set(range(-most, most + 1)) <= values), 2)
    if not floating and (len(values) < 2 or 0 not in values):
        raise InputError(
            f"profile {profile.name} must hold the weight value 0 and another to stand for an element, not only "
            f"{', '.join(map(str, sorted(values)[:4]))}{' and more' if len(values) > 4 else ''}"
        )
    said = profile.provenance
    pins = int(said.get("weight_pins", "0"))
    register = float(said.get("register_area_m2", "0"))
    area = profile.area_m2 + (2 * pins + activation_pins(profile) / bus) * register
    stored = pins if floating else (len(values) - 1).bit_length()
    made_once = float(said.get("multiples_area_m2", "0"))
    return Element(profile, area, bits, pins > stored, is_whole(profile), made_once, floating)


def activation_pins(profile: MacProfile) -> int:
    """Return the activation pins of one product: more than its bits where multiples of it come from outside."""
    return int(profile.provenance.get("activation_pins", str(profile.activation_bits)))


def columns_that_fit(area_m2: float, rows: int, arrays: int, element: Element, plain: Element, scaled: bool) -> int:
    """Return the columns of each array if all arrays together take an area.

    Args:
        area_m2: Area of all arrays in m2.
        rows: Elements in a column.
        arrays: Number of arrays.
        element: The element.
        plain: The plain 8-bit element; the decoder of a coded weight is taken to be as large.
        scaled: Whether every tile has scales of its own, so that each column needs a 16-bit floating-point unit.

    Raises:
        InputError: Not one column fits.
    """
    columns = columns_in(area_m2, rows, arrays, element, plain, scaled)
    if columns < 1:
        raise InputError(
            f"the area must be at least {least(least_area_m2(rows, arrays, element, plain, scaled) * 1e6)} mm2 for "
            f"{arrays} array(s) of one column of {rows} elements {element.profile.name}, not {area_m2 * 1e6:.4g} mm2"
        )
    return columns


def columns_in(area_m2: float, rows: int, arrays: int, element: Element, plain: Element, scaled: bool) -> int:
    """Return the columns of each array that fit the area; 0 if not one does. Arguments: `columns_that_fit`."""
    column, once = column_area_m2(rows, element, plain, scaled), rows * element.row_area_m2
    return max(0, math.floor((area_m2 / arrays - once) / column + 1e-9))


def least_area_m2(rows: int, arrays: int, element: Element, plain: Element, scaled: bool) -> float:
    """Return the area in m2 of all arrays if each has one column. Arguments: `columns_that_fit`."""
    return arrays * (column_area_m2(rows, element, plain, scaled) + rows * element.row_area_m2)


def column_area_m2(rows: int, element: Element, plain: Element, scaled: bool) -> float:
    """Return the area in m2 of one column, with its decoder and its scaling unit. Arguments: `columns_that_fit`."""
    beside = (plain.area_m2 if element.coded else 0.0) + (FLOAT_AREA * plain.area_m2 if scaled else 0.0)
    return rows * element.area_m2 + beside
