"""The premise of new silicon: every system gets the same area in mm2, built of the element that suits it best.

The other premise, given silicon (`systems`), keeps one MAC for all. Here W8A8 runs on the best 8-bit element. W4A8 runs
on a native 4-bit element, or in the upper bits of an 8-bit one. HALO runs on the plain element and on every element
with bypasses. FP16 runs on a named floating-point element, or on one with cited figures. At the base clock of the
machine the plain 8-bit element multiplies all its values. The clock of any other set of values, on any element, is the
base clock times the ratio of the two delays in the profiles.

Weights and activations wider than an element (the head, keys and values in 8 bits on a 4-bit element) take more passes.
Decoding and scaling are charged (`accel.side_costs`); wires are not. A system of which no element fits the area is left
out, with the reason.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from haloquant.accel.elements import FLOAT_AREA, FLOAT_ENERGY, Element, column_area_m2, columns_that_fit, is_whole
from haloquant.accel.results import Simulation
from haloquant.accel.side_costs import Lines, line_energy_j, side_energy_j
from haloquant.accel.simulation import simulate
from haloquant.accel.target import Target
from haloquant.accel.workload.prefill_decode import Workload
from haloquant.accel.workload.synthetic_tiles import synthetic_workload
from haloquant.dvfs.schedule import Policy, plan
from haloquant.errors import InputError
from haloquant.jobs.machines.element_systems import ElementSystem, floating_system, is_beaten, systems_on
from haloquant.jobs.machines.left_out_systems import LeftOut, left_out_notes, systems_that_fit
from haloquant.jobs.machines.supply_law import OneSupply, SupplyLaw, lower_supply
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
    """All systems at one area of the arrays. `plain` is the 8-bit element whose clock is the machine's base clock.

    `left_out` holds the systems and elements of which not one column fits, smallest first.
    """

    area_m2: float
    plain: str
    runs: tuple[ElementRun, ...]
    notes: tuple[str, ...]
    left_out: tuple[LeftOut, ...] = ()


def plain_element(elements: Sequence[Element]) -> Element:
    """Return the whole 8-bit element with the least area x delay over all its values.

    Raises:
        InputError: None of the elements is a whole one of 8 bits.
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
    progress: Callable[[int, int], None] = lambda done, total: None,
    delay_factor: float | None = None,
    supply: SupplyLaw | None = None,
    only: Sequence[str] = (),
) -> NewSilicon:
    """Return every system on the elements that hold its words and fit, at equal area.

    Args:
        model: The model; tiles of a packed one are drawn anew for each array, with the shares that it has.
        workloads: The passes.
        target: The machine; its arrays keep their number and their rows.
        elements: The elements, all of one cell library.
        area_m2: Area of all arrays in m2; None means as much as the target's arrays of the plain 8-bit element take.
        every: Also run elements that another one beats for a system in rate per area and in energy.
        progress: Called with the number of simulations done and of all.
        delay_factor: As in `run_on_element`.
        supply: As in `run_on_element`.
        only: Names of the systems to run; all by default.

    Raises:
        InputError: There is no plain 8-bit element, or the area is too small for one column of any element.
    """
    plain = plain_element(elements)
    array = target.array
    area_m2 = own_area_m2(target, plain) if area_m2 is None else area_m2
    systems, left_out = systems_at_area(model, target, elements, area_m2, only)
    if not every:
        systems = [system for system in systems if not is_beaten(system, systems, plain, array.rows)]
    todo = [(workload, system) for workload in workloads for system in systems]
    runs: list[ElementRun] = []

    def kept(tiles: dict[str, LayerTiles]) -> dict[str, LayerTiles]:
        return model.with_input_bits(model.only_quantized(tiles))

    for done, (workload, system) in enumerate(todo):
        progress(done, len(todo))
        runs.append(run_on_element(system, workload, target, plain, area_m2, kept, None, delay_factor, supply))
    progress(len(todo), len(todo))
    best: dict[tuple[str, str], ElementRun] = {}
    for run in runs:
        key = (run.phase, run.system)
        if key not in best or run.time_s * run.energy_j < best[key].time_s * best[key].energy_j:
            best[key] = run
    marked = tuple(replace(run, best=best[run.phase, run.system] is run) for run in runs)
    notes = _notes(elements, plain, target, model.classes.profile, delay_factor) + left_out_notes(left_out, area_m2)
    return NewSilicon(area_m2, plain.profile.name, marked, notes, left_out)


def own_area_m2(target: Target, plain: Element) -> float:
    """Return the area in m2 of a machine's arrays if they are made of the plain 8-bit element."""
    array = target.array
    return array.count * array.columns * column_area_m2(array.rows, plain, plain, scaled=False)


def systems_at_area(
    model: QuantizedModel, target: Target, elements: Sequence[Element], area_m2: float, only: Sequence[str] = ()
) -> tuple[list[ElementSystem], tuple[LeftOut, ...]]:
    """Return the systems that fit the area, and those that do not. Arguments: `compare_on_new_silicon`.

    Raises:
        InputError: There is no plain 8-bit element, or no system fits.
    """
    plain = plain_element(elements)
    systems = [floating_system(plain)]
    for element in elements:
        systems += systems_on(model, element)
    if only:
        systems = [system for system in systems if system.name in only]
    return systems_that_fit(systems, area_m2, target.array.rows, target.array.count, plain)


def _notes(
    elements: Sequence[Element], plain: Element, target: Target, given: MacProfile, delay_factor: float | None
) -> tuple[str, ...]:
    partly = [element.profile.name for element in elements if not element.whole]
    clocks = (
        f"new silicon: {plain.profile.name} runs all its values at {target.name}'s base clock, "
        f"{target.base.period_s / plain.slowest_s:.2f} times its own delay, every other set of values at its own delay "
        "on that scale"
        if delay_factor is None
        else f"new silicon: every set of values runs at its own delay, and at most at {target.name}'s base clock"
    )
    notes = [
        f"{clocks}; decoding and scaling are charged, wires are not",
        f"FP16 may run on an element with cited figures: {FLOAT_AREA:.1f} times the area and {FLOAT_ENERGY:g} times "
        f"the energy of {plain.profile.name}, at its clock (Horowitz, ISSCC 2014)",
    ]
    if not is_whole(given):
        notes.append(
            f"{given.name} is no whole processing element, so its energies do not compare with those of new silicon"
        )
    if partly:
        notes.append(
            f"{', '.join(partly)}: not a whole processing element, so its area, delay and energy are below those of one"
        )
    return tuple(notes)


def run_on_element(
    system: ElementSystem,
    workload: Workload,
    target: Target,
    plain: Element,
    area_m2: float,
    kept_tiles: Callable[[dict[str, LayerTiles]], dict[str, LayerTiles]] = lambda tiles: tiles,
    lines: Lines | None = None,
    delay_factor: float | None = None,
    supply: SupplyLaw | OneSupply | None = None,
) -> ElementRun:
    """Return one system on one element in one pass.

    Args:
        system: The system.
        workload: The pass.
        target: The machine; its arrays keep their number and their rows.
        plain: The plain 8-bit element whose clock is the machine's base clock.
        area_m2: Area of all arrays in m2.
        kept_tiles: Takes the tiles of all layers and returns those of the layers that are quantized.
        lines: The lines of operands, to charge them, too.
        delay_factor: Period over the profile's own delay; the base clock of the machine is then the limit of every
            clock. None scales all delays so that the plain element's slowest value takes one period of the base clock.
        supply: None runs everything at the base supply. A law of delay runs every class at the base clock, or at its
            own clock if that is lower, and at the lowest supply that allows this clock; attention and floating point
            run so with all values of the element. One supply runs every class there as fast as it can, and decoders,
            scaling units and lines too.

    Raises:
        InputError: Not one column fits the area.
    """
    element, array = system.element, target.array
    scaled = system.scaled
    columns = columns_that_fit(area_m2, array.rows, array.count, element, plain, scaled)
    scale = target.base.period_s / plain.slowest_s if delay_factor is None else delay_factor

    def clocked(delay_s: float) -> OperatingPoint:
        volts, own_hz = target.base.voltage_v, 1.0 / (scale * delay_s)
        if isinstance(supply, OneSupply):
            volts, own_hz = supply.voltage_v, own_hz / supply.delay
        elif supply is not None:
            return lower_supply(OperatingPoint(volts, own_hz), target.base, supply)
        return OperatingPoint(volts, own_hz if delay_factor is None else min(own_hz, target.base.frequency_hz))

    points = tuple(clocked(delay_s) for delay_s in system.periods_s)
    untiled = clocked(element.slowest_s)  # attention and floating point: any value
    base = replace(untiled, voltage_v=target.base.voltage_v)
    kept = replace(array, columns=columns, claimed_clocks=False, profile_voltage_v=0.0)
    if system.floating:
        kept = replace(kept, float_rate=1.0, float_energy=1.0 if element.floating else FLOAT_ENERGY)
    machine = replace(target, points=(base,), array=kept)
    tiles: dict[str, LayerTiles] = {}
    if not system.floating:
        tiles = synthetic_workload(
            workload, columns, array.rows, system.mix, system.encoding, system.head, system.head_encoding
        )
        tiles = kept_tiles(tiles)
    passes = _passes(system, workload, tiles)
    delays = scale * element.profile.delay_s[0]

    def scheduled(
        policy: Policy, points: tuple[OperatingPoint, ...]
    ) -> tuple[Simulation, dict[str, float], tuple[OperatingPoint, ...]]:
        schedule = plan(workload.gemms, tiles, points, untiled, policy, machine.accumulator_b, array.count)
        found = simulate(
            workload, tiles, schedule, machine, element.profile,
            delay_at=lambda volts: delays * _slower(supply, volts),
            kv_bits=16 if system.floating else 8, passes=passes, system=f"{system.name} on {element.profile.name}",
        )  # fmt: skip
        side_j = side_energy_j(workload, tiles, schedule, element, plain, passes)
        if lines is not None:
            side_j |= line_energy_j(workload, schedule, lines, columns, passes)
        if isinstance(supply, OneSupply):
            side_j = {part: joule * (supply.voltage_v / base.voltage_v) ** 2 for part, joule in side_j.items()}
        return found, side_j, points

    # One clock for all classes needs no regulator. It is taken where the classes' clocks are nearly equal.
    options = [(policy, points) for policy in system.policies]
    if len(set(points)) > 1:
        slowest = min(points, key=lambda point: (point.frequency_hz, -point.voltage_v))
        options.append((Policy.PANEL, (slowest,) * len(points)))
    if isinstance(supply, SupplyLaw):  # one supply for all, attention included
        options.append((Policy.NONE, points))
    found, side_j, used_points = min(
        (scheduled(*option) for option in options), key=lambda run: run[0].time_s * run[0].total.total_energy_j
    )
    column = column_area_m2(array.rows, element, plain, scaled)
    used = array.count * (columns * column + array.rows * element.row_area_m2)
    return ElementRun(
        workload.phase, system.name, system.element_name, columns, used, used_points or (untiled,), found, side_j
    )


def _slower(supply: SupplyLaw | OneSupply | None, voltage_v: float) -> float:
    """Return the delay at a supply relative to that at the base supply."""
    if supply is None:
        return 1.0
    return supply.delay if isinstance(supply, OneSupply) else supply.delay(voltage_v)


def _passes(system: ElementSystem, workload: Workload, tiles: Mapping[str, LayerTiles]) -> dict[str, int]:
    """Return how often the array runs over each layer: attention and the head hold 8-bit values."""
    if system.passes == 1:
        return {}
    wide = {gemm.layer for gemm in workload.gemms if not gemm.weight_stationary}
    head = workload.gemms[-1].layer
    return dict.fromkeys([*wide, *([head] if head in tiles else [])], system.passes)
