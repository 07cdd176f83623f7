"""Time and energy of designs at one area, with the words' real frequencies, by the simulation of new silicon."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from haloquant.accel.elements import Element, column_area_m2, columns_in, element_of, least_area_m2
from haloquant.accel.side_costs import Lines, lines_of
from haloquant.accel.target import Target
from haloquant.accel.workload.prefill_decode import Workload
from haloquant.accel.workload.synthetic_tiles import ClassMix, Encoding
from haloquant.dvfs.operating_points import rows_of, slowest_delay_s
from haloquant.errors import InputError
from haloquant.jobs.codesign.front import Design, DesignCost, not_beaten
from haloquant.jobs.codesign.supplies import Supplies
from haloquant.jobs.codesign.word_sets import WordSet
from haloquant.jobs.machines.element_systems import ElementSystem, eight_bits
from haloquant.jobs.machines.method_cost import with_tile_size
from haloquant.jobs.machines.new_silicon import run_on_element
from haloquant.records import MacProfile
from haloquant.units import least

BUSES = (1, 16)  # columns that share one register of an activation
CONSTANT_BITS = 24  # of the register at the head of a column, for the constants of its weights
# Capacitance of a wire in F/m by the beginning of a library's name: what OpenROAD estimates with before placement.
WIRE_F_PER_M: Mapping[str, float] = {"asap7": 1.73e-10, "nangate": 1.05e-10, "sky130": 1.72e-10}


@dataclass(frozen=True)
class Silicon:
    """What all designs share: the machine, the passes, the area of all arrays in m2, and the plain 8-bit element.

    `register_j` is the energy of a register bit in a cycle, for profiles that do not say. `supplies` gives the delay of
    designs below their element's own supply.
    """

    target: Target
    workloads: tuple[Workload, ...]
    area_m2: float
    plain: Element
    register_j: float
    supplies: Supplies | None = None

    def wire_f_per_m(self) -> float:
        """Return the capacitance of a wire in the cell library; 0 if none is known."""
        library = self.plain.profile.provenance.get("library", "").lower()
        return next((value for name, value in WIRE_F_PER_M.items() if library.startswith(name)), 0.0)


def designs_of(words: WordSet, tile: int, profiles: Iterable[MacProfile], buses: Sequence[int] = BUSES) -> list[Design]:
    """Return the designs for a set of words and a tile size: every element that holds the words, at every corner."""
    found: list[Design] = []
    for profile in profiles:
        if not words.held_by(profile):
            continue
        for corner in range(len(profile.corners)):
            at = _at_corner(profile, corner)
            for bus in buses:
                element = element_of(at, bus)
                constant = 0.0
                if "products" in at.provenance:
                    constant = CONSTANT_BITS * float(at.provenance["register_area_m2"]) / tile
                found.append(Design(words, tile, replace(element, area_m2=element.area_m2 + constant), bus))
    return found


def at_supplies(designs: Iterable[Design], profiles: Iterable[MacProfile], shares: Sequence[float]) -> list[Design]:
    """Return designs at each of these shares of their supply; those of a profile with several corners as they are."""
    several = {profile.name for profile in profiles if len(profile.corners) > 1}
    return [
        replace(design, supply=share)
        for design in designs
        for share in ((1.0,) if design.element.profile.name in several else shares)
    ]


def promising(designs: Sequence[Design], frequency: np.ndarray, silicon: Silicon) -> list[Design]:
    """Return the designs of one set of words and one tile size that no other beats before simulation.

    A lower supply changes the figures of all designs alike, so it need not be known.
    They are compared by time x area of a product, energy of a product, energy of loading a weight, and passes over
    8-bit operands.
    """

    def figures(design: Design) -> tuple[float, ...]:
        element, lines = design.element, _lines(design, silicon)
        values = np.array(design.words.words, np.int16)
        energies = element.profile.energy_j[0][rows_of(element.profile, values)]
        column = (
            column_area_m2(design.tile, element, silicon.plain, scaled=True) + design.tile * element.row_area_m2 / 64
        )
        load_j = lines.load_j + (silicon.plain.mean_j if element.coded else 0.0)
        return (
            slowest_delay_s(element.profile, 0, values) * column,
            float(frequency @ energies) + lines.activation_j + lines.row_j / 64,
            load_j,
            float(element.passes(8)),
        )

    return not_beaten(designs, figures)


def cost_of(design: Design, frequency: np.ndarray, silicon: Silicon, sparse_share: float) -> list[DesignCost]:
    """Return the cost of a design in every pass; none if not one column fits the area.

    Args:
        design: The design.
        frequency: How often each word is used.
        silicon: What all designs share.
        sparse_share: Share of the weights that are kept beside the tiles in 8 bits.
    """
    element = design.element
    values = np.array(design.words.words, np.int16)
    body, (head, head_s) = ClassMix(1.0, values, frequency), eight_bits(element)
    stored = Encoding(code_bits=code_bits(len(values)), sparse_share=sparse_share)
    system = ElementSystem(
        design.words.name, element, (body, replace(head, share=0.0)), (replace(body, share=0.0), head), stored,
        (slowest_delay_s(element.profile, 0, values), head_s), passes=element.passes(8),
    )  # fmt: skip
    target = with_tile_size(silicon.target, design.tile)
    array = target.array
    if not columns_in(silicon.area_m2, array.rows, array.count, element, silicon.plain, system.scaled):
        return []
    supply = silicon.supplies.at(design.supply) if silicon.supplies is not None else None
    found: list[DesignCost] = []
    for workload in silicon.workloads:
        run = run_on_element(
            system, workload, target, silicon.plain, silicon.area_m2, lines=_lines(design, silicon), supply=supply
        )
        found.append(
            DesignCost(
                design, workload.phase, run.columns, run.array_area_m2, silicon.area_m2, run.time_s, run.energy_j,
                workload.tokens,
            )
        )  # fmt: skip
    return found


def code_bits(words: int) -> float:
    """Return the bits of a stored code in the packed format: 3.2 for up to 9 words, else 4."""
    return 3.2 if words <= 9 else 4.0


def costs_of_all(
    designs: Sequence[Design],
    frequency: Callable[[Design], np.ndarray],
    silicon: Silicon,
    sparse_share: float,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[DesignCost]:
    """Return the costs of all designs that fit the area."""
    found: list[DesignCost] = []
    for done, design in enumerate(designs):
        progress(done, len(designs))
        found += cost_of(design, frequency(design), silicon, sparse_share)
    progress(len(designs), len(designs))
    return found


@dataclass(frozen=True)
class LeftOutElement:
    """An element of which not one column of `tile` rows fits; `least_area_m2` is the least area in m2 that would do."""

    element: str
    tile: int
    least_area_m2: float


def elements_left_out(designs: Sequence[Design], silicon: Silicon) -> tuple[LeftOutElement, ...]:
    """Return the elements and tile sizes of which not one column fits the area, smallest first.

    Args:
        designs: The designs, whatever their words.
        silicon: What all designs share.

    Raises:
        InputError: No design fits.
    """
    areas: dict[tuple[str, int], float] = {}
    fitting: set[tuple[str, int]] = set()
    for design in designs:
        key, array = (design.element.profile.name, design.tile), with_tile_size(silicon.target, design.tile).array
        of = (design.tile, array.count, design.element, silicon.plain, True)
        areas[key] = min(areas.get(key, math.inf), least_area_m2(*of))
        if columns_in(silicon.area_m2, *of):
            fitting.add(key)
    if not fitting:
        raise InputError(
            f"the area must be at least {least(min(areas.values()) * 1e6)} mm2, which one column of the "
            f"smallest element takes, not {silicon.area_m2 * 1e6:g} mm2"
        )
    large = sorted((key for key in areas if key not in fitting), key=lambda key: areas[key])
    return tuple(LeftOutElement(*key, areas[key]) for key in large)


def choices_that_fit(
    sets: Iterable[WordSet], profiles: Sequence[MacProfile], tiles: Sequence[int], left_out: Iterable[LeftOutElement]
) -> list[tuple[WordSet, int]]:
    """Return the sets of words, each with the tile sizes at which an element that holds it fits the area."""
    large = {(each.element, each.tile) for each in left_out}
    return [
        (words, tile)
        for words in sets
        for tile in tiles
        if any((profile.name, tile) not in large and words.held_by(profile) for profile in profiles)
    ]


def _lines(design: Design, silicon: Silicon) -> Lines:
    return lines_of(design.element, design.bus, silicon.register_j, silicon.wire_f_per_m())


def _at_corner(profile: MacProfile, corner: int) -> MacProfile:
    """Return a profile with one of its corners alone."""
    at = slice(corner, corner + 1)
    return replace(
        profile, corners=profile.corners[at], delay_s=profile.delay_s[at], energy_j=profile.energy_j[at],
        sensitised_delay_s=profile.sensitised_delay_s[at], leakage_w=profile.leakage_w[at],
    )  # fmt: skip
