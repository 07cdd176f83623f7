"""The premise of new silicon: every system gets the same area in mm2, built of the element that suits it best.

The other premise, given silicon (`systems`), keeps one MAC for all. Here W8A8 runs on the best 8-bit element, W4A8 on a
native 4-bit one or in the upper bits of an 8-bit one, HALO on every element with bypasses and on the plain one, FP16 on
a cited one. A profile's own picoseconds set the clock: the base clock of the machine is that of the plain 8-bit element
for all its values, and every other set of values on every other element is clocked on that scale.

Weights and activations wider than an element (the head, keys and values in 8 bits on a 4-bit element) take more passes.
Decoding and scaling are charged (`accel.side_costs`); wires and voltage are not.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from haloquant.accel.elements import FLOAT_AREA, FLOAT_ENERGY, Element, column_area_m2, columns_that_fit, is_whole
from haloquant.accel.results import Simulation
from haloquant.accel.rival_systems import uniform_values
from haloquant.accel.side_costs import side_energy_j
from haloquant.accel.simulation import simulate
from haloquant.accel.target import Target
from haloquant.accel.workload.prefill_decode import Workload
from haloquant.accel.workload.synthetic_tiles import ClassMix, Encoding, gaussian_frequency, synthetic_workload
from haloquant.dvfs.operating_points import rows_of, slowest_delay_s
from haloquant.dvfs.schedule import Policy, plan
from haloquant.errors import InputError
from haloquant.jobs.machines.drawn_tiles import class_mix, measured_encoding
from haloquant.jobs.machines.method_cost import POLICIES
from haloquant.jobs.machines.systems import QuantizedModel
from haloquant.records import LayerTiles, MacProfile, OperatingPoint

PLAIN_ELEMENT = "digitsdadda-cs4"


@dataclass(frozen=True)
class ElementRun:
    """One system on one element in one phase, with the given area.

    `points` are the clocks of its tile classes. `side_j` is the energy of decoding and scaling in J. `best` marks the
    element with the least time x energy for its system and phase.
    """

    phase: str
    system: str
    element: str
    columns: int
    array_area_m2: float
    points: tuple[OperatingPoint, ...]
    simulation: Simulation
    side_j: Mapping[str, float]
    best: bool = False

    @property
    def time_s(self) -> float:
        """Time of the pass in s."""
        return self.simulation.time_s

    @property
    def energy_j(self) -> float:
        """Energy of the pass in J, with decoding and scaling."""
        return self.simulation.total.total_energy_j + sum(self.side_j.values())


@dataclass(frozen=True)
class NewSilicon:
    """All systems at one area of the arrays. `plain` is the 8-bit element whose clock is the machine's base clock."""

    area_m2: float
    plain: str
    runs: tuple[ElementRun, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class _System:
    """A system on an element: class mixes of body and head, their clocks, their stored bits."""

    name: str
    element: Element
    mix: Sequence[ClassMix]
    head: Sequence[ClassMix]
    encoding: Encoding
    periods_s: Sequence[float]  # of each class, on the element's own scale
    floating: bool = False
    policies: Sequence[Policy] = (Policy.PANEL,)
    passes: int = 1  # of 8-bit operands
    head_encoding: Encoding = field(default_factory=lambda: Encoding(code_bits=8.0, scale_bits=0.0))


def plain_element(elements: Sequence[Element]) -> Element:
    """Return the whole 8-bit element with the least area x delay over all its values.

    Raises:
        InputError: none of the elements is a whole one of 8 bits.
    """
    eight = [element for element in elements if element.bits == 8 and element.whole]
    if not eight:
        raise InputError(
            "new silicon needs a whole processing element for all 8-bit values of the same cell library; make one with "
            f"`haloquant characterize --mac {PLAIN_ELEMENT} --search area-delay` and name it with --against"
        )
    return min(eight, key=lambda element: element.area_m2 * element.slowest_s)


def compare_on_new_silicon(
    model: QuantizedModel,
    workloads: Sequence[Workload],
    target: Target,
    elements: Sequence[Element],
    area_m2: float | None = None,
    every: bool = False,
) -> NewSilicon:
    """Return every system on the elements that hold its words, at equal area.

    Args:
        model: The model; tiles of a packed one are drawn anew for each array, with the shares that it has.
        workloads: The passes.
        target: The machine; its arrays keep their number and their rows.
        elements: The elements, all of one cell library.
        area_m2: Area of all arrays in m2; None means as much as the target's arrays of the plain 8-bit element take.
        every: Also run elements that another one beats for a system in rate per area and in energy.

    Raises:
        InputError: There is no plain 8-bit element, or the area is too small for one column of one of the elements.
    """
    plain = plain_element(elements)
    array = target.array
    if area_m2 is None:
        area_m2 = array.count * array.columns * column_area_m2(array.rows, plain, plain, scaled=False)
    systems = [_floating(plain)]
    for element in elements:
        systems += _systems_on(model, element)
    if not every:
        systems = [system for system in systems if not _is_beaten(system, systems, plain, array.rows)]
    runs = [_run(model, system, workload, target, plain, area_m2) for workload in workloads for system in systems]
    best: dict[tuple[str, str], ElementRun] = {}
    for run in runs:
        key = (run.phase, run.system)
        if key not in best or run.time_s * run.energy_j < best[key].time_s * best[key].energy_j:
            best[key] = run
    marked = tuple(replace(run, best=best[run.phase, run.system] is run) for run in runs)
    return NewSilicon(area_m2, plain.profile.name, marked, _notes(elements, plain, target, model.classes.profile))


def _is_beaten(system: _System, systems: Sequence[_System], plain: Element, rows: int) -> bool:
    """Whether another element does the same system's operations faster per area and with less energy each.

    An element that takes more passes for 8-bit operands beats none that takes fewer: attention may be most of the work.
    """

    def figures(of: _System) -> tuple[float, float]:
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


def _notes(elements: Sequence[Element], plain: Element, target: Target, given: MacProfile) -> tuple[str, ...]:
    partly = [element.profile.name for element in elements if not element.whole]
    notes = [
        f"new silicon: {plain.profile.name} runs all its values at {target.name}'s base clock, every other set of "
        "values at its own delay on that scale; decoding and scaling are charged, wires are not",
        f"FP16 is a cited element: {FLOAT_AREA:.1f} times the area and {FLOAT_ENERGY:g} times the energy of "
        f"{plain.profile.name}, at its clock (Horowitz, ISSCC 2014)",
    ]
    if not is_whole(given):
        notes.append(
            f"{given.name} is no whole processing element, so its energies do not compare with those of new silicon"
        )
    if partly:
        notes.append(
            f"{', '.join(partly)}: not a whole processing element, so smaller, faster and quieter than one would be"
        )
    return tuple(notes)


def _systems_on(model: QuantizedModel, element: Element) -> list[_System]:
    found = [_uniform(element, bits) for bits in (8, 4, 3) if bits <= element.bits]
    if element.bits == 8:
        found.append(_halo(model, element))
    elif element.bits == 2 and model.tiles is None:
        found.append(_own_words(element))
    return found


def _floating(plain: Element) -> _System:
    larger = replace(plain, area_m2=FLOAT_AREA * plain.area_m2, coded=False)
    return _System("FP16", larger, (), (), Encoding(), (), floating=True)


def _uniform(element: Element, bits: int) -> _System:
    """Uniform integers, shifted to the place where they are fastest and then quietest; the head in 8 bits."""
    profile = element.profile
    options: list[tuple[float, float, int]] = []
    for shift in range(element.bits - bits + 1):
        values = uniform_values(bits, shift)
        energy = profile.energy_j[0][rows_of(profile, values)]
        options.append((slowest_delay_s(profile, 0, values), float(gaussian_frequency(values) @ energy), shift))
    body_s, _, shift = min(options)
    values = uniform_values(bits, shift)
    head, head_s = _eight_bits(element)
    body = ClassMix(1.0, values, gaussian_frequency(values))
    stored = Encoding(code_bits=float(bits), scale_bits=16.0 if bits < 8 else 0.0)
    return _System(
        f"W{bits}A8", element, (body, replace(head, share=0.0)), (replace(body, share=0.0), head), stored,
        (body_s, head_s), passes=element.passes(8),
    )  # fmt: skip


def _eight_bits(element: Element) -> tuple[ClassMix, float]:
    """8-bit weights on an element: its symmetric values, or any digit of a narrower one; and their slowest delay."""
    if element.bits == 8:
        values = uniform_values(8)
        return ClassMix(1.0, values, gaussian_frequency(values)), slowest_delay_s(element.profile, 0, values)
    values = element.profile.weights
    return ClassMix(1.0, values, np.full(len(values), 1.0 / len(values))), element.slowest_s


def _own_words(element: Element) -> _System:
    """The words that an element holds, if they are no integers of some bits: HALO's fast class alone."""
    values = element.profile.weights
    body, (head, head_s) = ClassMix(1.0, values, gaussian_frequency(values)), _eight_bits(element)
    stored = Encoding(code_bits=float(np.log2(len(values))), sparse_share=0.005)
    return _System(
        f"{len(values)} words only", element, (body, replace(head, share=0.0)), (replace(body, share=0.0), head),
        stored, (element.slowest_s, head_s), passes=element.passes(8),
    )  # fmt: skip


def _halo(model: QuantizedModel, element: Element) -> _System:
    """HALO's words, as they were chosen for the given MAC, at the element's own delays."""
    profile = element.profile
    if model.tiles is not None:
        layers = list(model.tiles.values())
        mix = class_mix(layers)
        head, head_s = _eight_bits(element)
        periods = [slowest_delay_s(profile, 0, part.values) for part in mix]
        return _System(
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
    return _System("HALO", element, mix, head, stored, periods, policies=POLICIES)


def _run(
    model: QuantizedModel, system: _System, workload: Workload, target: Target, plain: Element, area_m2: float
) -> ElementRun:
    element, array = system.element, target.array
    scaled = system.encoding.scale_bits > 0 and not system.floating
    columns = columns_that_fit(area_m2, array.rows, array.count, element, plain, scaled)
    scale = target.base.period_s / plain.slowest_s
    volts = target.base.voltage_v
    base = OperatingPoint(volts, 1.0 / (scale * element.slowest_s))
    points = tuple(OperatingPoint(volts, 1.0 / (scale * period)) for period in system.periods_s)
    kept = replace(
        array, columns=columns, claimed_clocks=False, profile_voltage_v=0.0,
        **({"float_rate": 1.0, "float_energy": FLOAT_ENERGY} if system.floating else {}),
    )  # fmt: skip
    machine = replace(target, points=(base,), array=kept)
    tiles: dict[str, LayerTiles] = {}
    if not system.floating:
        tiles = synthetic_workload(
            workload, columns, array.rows, system.mix, system.encoding, system.head, system.head_encoding
        )
        tiles = model.only_quantized(tiles)
    passes = _passes(system, workload, tiles)
    delays = scale * element.profile.delay_s[0]

    def scheduled(
        policy: Policy, points: tuple[OperatingPoint, ...]
    ) -> tuple[Simulation, dict[str, float], tuple[OperatingPoint, ...]]:
        schedule = plan(workload.gemms, tiles, points, base, policy, machine.accumulator_b, array.count)
        found = simulate(
            workload, tiles, schedule, machine, element.profile, delay_at=lambda _: delays,
            kv_bits=16 if system.floating else 8, passes=passes, system=f"{system.name} on {element.profile.name}",
        )  # fmt: skip
        return found, side_energy_j(workload, tiles, schedule, element, plain, passes), points

    # One clock for all classes needs no regulator; a designer takes it where the classes' clocks are nearly equal.
    options = [(policy, points) for policy in system.policies]
    if len({point.frequency_hz for point in points}) > 1:
        slowest = min(points, key=lambda point: point.frequency_hz)
        options.append((Policy.PANEL, (slowest,) * len(points)))
    found, side_j, used_points = min(
        (scheduled(*option) for option in options), key=lambda run: run[0].time_s * run[0].total.total_energy_j
    )
    used = array.count * columns * column_area_m2(array.rows, element, plain, scaled)
    name = f"cited, {FLOAT_AREA:.1f} x {element.profile.name}" if system.floating else element.profile.name
    return ElementRun(workload.phase, system.name, name, columns, used, used_points or (base,), found, side_j)


def _passes(system: _System, workload: Workload, tiles: Mapping[str, LayerTiles]) -> dict[str, int]:
    """How often the array runs over each layer: attention and the head hold 8-bit values."""
    if system.passes == 1:
        return {}
    wide = {gemm.layer for gemm in workload.gemms if not gemm.weight_stationary}
    head = workload.gemms[-1].layer
    return dict.fromkeys([*wide, *([head] if head in tiles else [])], system.passes)


def shown_profiles(
    given: MacProfile, known: Mapping[str, MacProfile], against: Sequence[MacProfile]
) -> list[MacProfile]:
    """Return the profiles to compare: the whole elements of the given MAC's library and corner, and those named.

    Args:
        given: The given MAC.
        known: The profiles that come with the package.
        against: Profiles that the user names; they are taken as they are.
    """
    library = given.provenance.get("library", "").partition(", ")[0]
    alike = [
        profile
        for profile in known.values()
        if is_whole(profile)
        and profile.provenance.get("library", "") == library
        and profile.corners[0] == given.corners[0]
    ]
    named = [profile for profile in against if profile.name not in {each.name for each in alike}]
    own = [given] if is_whole(given) and given.name not in {each.name for each in alike} else []
    return [*alike, *own, *named]
