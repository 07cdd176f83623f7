"""Describe each quantization method on one processing element: its classes, their clocks and its stored bits.

W8A8 runs on an 8-bit element. W4A8 runs on a native 4-bit element, or in the upper bits of an 8-bit one. HALO runs on
the plain element and on every element with bypasses. FP16 runs on a floating-point element that the user
names, or on one whose figures are cited from a publication.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from haloquant.accel.elements import FLOAT_AREA, Element, column_area_m2, element_of, is_whole
from haloquant.accel.rival_systems import uniform_values
from haloquant.accel.workload.synthetic_tiles import ClassMix, Encoding, gaussian_frequency
from haloquant.dvfs.operating_points import best_shift, rows_of, slowest_delay_s
from haloquant.dvfs.schedule import Policy
from haloquant.jobs.machines.drawn_tiles import class_mix, measured_encoding
from haloquant.jobs.machines.method_cost import POLICIES
from haloquant.jobs.machines.systems import QuantizedModel
from haloquant.records import MacProfile
from haloquant.store.profiles import read_profile, shipped_profiles


@dataclass(frozen=True)
class ElementSystem:
    """A quantization method on one processing element.

    Class mixes of the body and of the head, the slowest delay of each class in s on the element's own scale, the stored
    bits, and how often the array runs over operands of 8 bits.
    """

    name: str
    element: Element
    mix: Sequence[ClassMix]
    head: Sequence[ClassMix]
    encoding: Encoding
    periods_s: Sequence[float]
    floating: bool = False
    policies: Sequence[Policy] = (Policy.PANEL,)
    passes: int = 1
    head_encoding: Encoding = field(default_factory=lambda: Encoding(code_bits=8.0, scale_bits=0.0))

    @property
    def scaled(self) -> bool:
        """Whether every tile has scales of its own, so that each column has a unit that scales its sums."""
        return self.encoding.scale_bits > 0 and not self.floating

    @property
    def element_name(self) -> str:
        """The name of the element's profile; for cited figures, their ratio to the plain element."""
        name = self.element.profile.name
        return f"cited, {FLOAT_AREA:.1f} x {name}" if self.floating and not self.element.floating else name


def systems_on(model: QuantizedModel, element: Element) -> list[ElementSystem]:
    """Return the systems whose weight values this element can multiply."""
    if element.floating:
        return [ElementSystem("FP16", element, (), (), Encoding(), (), floating=True)]
    found = [_uniform(element, bits) for bits in (8, 4, 3) if bits <= element.bits]
    if element.bits == 8:
        found.append(_halo(model, element))
    elif element.bits == 2 and model.tiles is None:
        found.append(_own_words(element))
    return found


def floating_system(plain: Element) -> ElementSystem:
    """Return FP16 on an element with cited figures, larger than the plain one."""
    larger = replace(plain, area_m2=FLOAT_AREA * plain.area_m2, coded=False)
    return ElementSystem("FP16", larger, (), (), Encoding(), (), floating=True)


def _uniform(element: Element, bits: int) -> ElementSystem:
    """Return uniform integers, shifted left by the number of bits that gives the shortest delay. The head has 8 bits.

    In a tie, the shift with the least energy is taken.
    """
    profile = element.profile
    plain = uniform_values(bits)
    shift = best_shift(profile, 0, plain, gaussian_frequency(plain)) or 0
    values = uniform_values(bits, shift)
    body_s = slowest_delay_s(profile, 0, values)
    head, head_s = eight_bits(element)
    body = ClassMix(1.0, values, gaussian_frequency(values))
    stored = Encoding(code_bits=float(bits), scale_bits=16.0 if bits < 8 else 0.0)
    return ElementSystem(
        f"W{bits}A8", element, (body, replace(head, share=0.0)), (replace(body, share=0.0), head), stored,
        (body_s, head_s), passes=element.passes(8),
    )  # fmt: skip


def eight_bits(element: Element) -> tuple[ClassMix, float]:
    """Return the weight values that an 8-bit weight uses on this element, and the delay of the slowest in s.

    On a narrower element these are all its values.
    """
    if element.bits == 8:
        values = uniform_values(8)
        return ClassMix(1.0, values, gaussian_frequency(values)), slowest_delay_s(element.profile, 0, values)
    values = element.profile.weights
    return ClassMix(1.0, values, np.full(len(values), 1.0 / len(values))), element.slowest_s


def _own_words(element: Element) -> ElementSystem:
    """Return HALO's fast class on an element that multiplies only its own set of values."""
    values = element.profile.weights
    body, (head, head_s) = ClassMix(1.0, values, gaussian_frequency(values)), eight_bits(element)
    stored = Encoding(code_bits=float(np.log2(len(values))), sparse_share=0.005)
    return ElementSystem(
        f"{len(values)} words only", element, (body, replace(head, share=0.0)), (replace(body, share=0.0), head),
        stored, (element.slowest_s, head_s), passes=element.passes(8),
    )  # fmt: skip


def _halo(model: QuantizedModel, element: Element) -> ElementSystem:
    """Return HALO's words, as they were chosen for the given MAC, at the element's own delays."""
    profile = element.profile
    if model.tiles is not None:
        layers = list(model.tiles.values())
        mix = class_mix(layers)
        head, head_s = eight_bits(element)
        periods = [slowest_delay_s(profile, 0, part.values) for part in mix]
        return ElementSystem(
            "HALO", element, (*mix, replace(head, share=0.0)), (*(replace(part, share=0.0) for part in mix), head),
            measured_encoding(layers, len(mix)), (*periods, head_s), policies=POLICIES,
        )  # fmt: skip
    fast, slow, base = model.classes.codebooks
    shares = (model.fast_share, 1.0 - model.fast_share, 0.0)
    books = (fast, slow, base)
    mix = [ClassMix(s, b.values, gaussian_frequency(b.values)) for s, b in zip(shares, books, strict=True)]
    head = [replace(part, share=float(i == 2)) for i, part in enumerate(mix)]
    stored = Encoding(code_bits=3.2 * shares[0] + 4.0 * shares[1], sparse_share=0.005)
    periods = [slowest_delay_s(profile, 0, book.values) for book in books]
    return ElementSystem("HALO", element, mix, head, stored, periods, policies=POLICIES)


def is_beaten(system: ElementSystem, systems: Sequence[ElementSystem], plain: Element, rows: int) -> bool:
    """Return whether another element runs this system with less delay x area and with less energy per operation.

    An element that needs more passes for 8-bit operands is not compared with one that needs fewer, because attention
    can be most of the work.
    """

    def figures(of: ElementSystem) -> tuple[float, float]:
        parts = [(part, period) for part, period in zip(of.mix, of.periods_s, strict=True) if part.share > 0]
        mean_s = sum(part.share * period for part, period in parts)
        mac = of.element.profile
        energies = [(part, mac.energy_j[0][rows_of(mac, part.values)]) for part, _ in parts]
        joules = [part.share * float(part.frequency @ e) / float(part.frequency.sum()) for part, e in energies]
        return mean_s * column_area_m2(rows, of.element, plain, of.encoding.scale_bits > 0), sum(joules)

    if system.floating:
        return False
    mine = figures(system)
    others = [
        figures(other)
        for other in systems
        if other.name == system.name and other is not system and other.passes <= system.passes
    ]
    return any(other[0] < mine[0] and other[1] < mine[1] for other in others)


def known_elements(given: MacProfile, against: Sequence[MacProfile] = ()) -> list[Element]:
    """Return the elements to compare with a given MAC: those of the package that `shown_profiles` takes, and `against`.

    The list is empty if no whole element of the MAC's cell library is known.
    """
    known = {name: read_profile(path) for name, path in shipped_profiles().items()}
    return [element_of(profile) for profile in shown_profiles(given, known, against)]


def shown_profiles(
    given: MacProfile, known: Mapping[str, MacProfile], against: Sequence[MacProfile]
) -> list[MacProfile]:
    """Return the profiles to compare: the whole elements of the given MAC's library and corner, and those named.

    Args:
        given: The given MAC.
        known: The profiles that come with the package.
        against: Profiles that the user names; they are taken as they are. One with the name of a shipped profile, as
            `characterize` gives to the same MAC, takes its place.
    """
    alike = [
        profile
        for profile in known.values()
        if is_whole(profile) and profile.library == given.library and profile.corners[0] == given.corners[0]
    ]
    own = [given] if is_whole(given) else []
    found = {profile.name: profile for profile in (*alike, *own, *against)}  # of one name, the user's own
    return list(found.values())
