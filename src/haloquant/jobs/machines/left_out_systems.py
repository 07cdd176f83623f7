"""Systems that new silicon leaves out, because not one column of an element fits the area of the arrays."""

from collections.abc import Sequence
from dataclasses import dataclass

from haloquant.accel.elements import Element, columns_in, columns_that_fit, least_area_m2
from haloquant.jobs.machines.element_systems import ElementSystem
from haloquant.units import least


@dataclass(frozen=True)
class LeftOut:
    """A system on an element of which not one column fits the area of the arrays.

    `least_area_m2` is the area in m2 of all arrays if each has one column. `whole_system` is true for the smallest
    element of a system that no element fits. Such a system has no run.
    """

    system: str
    element: str
    least_area_m2: float
    whole_system: bool

    @property
    def reason(self) -> str:
        """Why it is left out."""
        return f"one column in each array takes {least(self.least_area_m2 * 1e6)} mm2"


def systems_that_fit(
    systems: Sequence[ElementSystem], area_m2: float, rows: int, arrays: int, plain: Element
) -> tuple[list[ElementSystem], tuple[LeftOut, ...]]:
    """Return the systems of which a column fits, and those that are left out, smallest first.

    Args:
        systems: The systems on their elements.
        area_m2: Area of all arrays in m2.
        rows: Elements in a column.
        arrays: Number of arrays.
        plain: The plain 8-bit element.

    Raises:
        InputError: No system fits.
    """

    def area_of(of: ElementSystem) -> float:
        return least_area_m2(rows, arrays, of.element, plain, of.scaled)

    kept: list[ElementSystem] = []
    large: list[ElementSystem] = []
    for each in systems:
        fits = columns_in(area_m2, rows, arrays, each.element, plain, each.scaled) > 0
        (kept if fits else large).append(each)
    if not kept:
        smallest = min(systems, key=area_of)
        columns_that_fit(area_m2, rows, arrays, smallest.element, plain, smallest.scaled)  # raises
    large.sort(key=area_of)
    known = {each.name for each in kept}
    left_out: list[LeftOut] = []
    for each in large:
        left_out.append(LeftOut(each.name, each.element_name, area_of(each), each.name not in known))
        known.add(each.name)
    return kept, tuple(left_out)


def left_out_notes(left_out: Sequence[LeftOut], area_m2: float) -> tuple[str, ...]:
    """Return a sentence for each system that is left out, and one on the elements that the other systems do without.

    Args:
        left_out: What `systems_that_fit` left out.
        area_m2: Area of all arrays in m2.
    """
    without = {each.system: each for each in left_out if each.whole_system}
    notes = [
        f"new silicon leaves {each.system} out: on {each.element}, its smallest element, {each.reason}, and the arrays "
        f"have {area_m2 * 1e6:.4g} mm2"
        for each in without.values()
    ]
    by_element: dict[str, list[str]] = {}
    for each in left_out:
        if each.system not in without:
            by_element.setdefault(each.element, []).append(each.system)
    if by_element:
        listed = "; ".join(f"{element} ({', '.join(names)})" for element, names in by_element.items())
        notes.append(f"new silicon leaves out elements of which not one column fits: {listed}")
    return tuple(notes)
