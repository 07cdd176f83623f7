"""Compare processing elements of other papers on the same machine, with delays and energies counted in full adders.

The counts describe the structure of an element, not a layout in silicon. The clock of an element differs from that of a
plain 8-bit array multiplier in the ratio of their slowest values' delays. Its weights are uniform integers of its own
width, also in the head if the model quantizes it. The rows also give the bit operations (BOPs, EBOPs) of one token.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from haloquant.accel.bit_operations import bops, ebops
from haloquant.accel.chart_rows import limiting_resource
from haloquant.accel.processing_elements import array_element, serial_element
from haloquant.accel.rival_systems import System, uniform_values
from haloquant.accel.system_comparison import run_system
from haloquant.accel.target import Target
from haloquant.accel.workload.prefill_decode import Workload
from haloquant.accel.workload.synthetic_tiles import ClassMix, Encoding, gaussian_frequency, synthetic_workload
from haloquant.dvfs.operating_points import slowest_delay_s
from haloquant.dvfs.schedule import plan
from haloquant.jobs.machines.method_cost import POLICIES
from haloquant.jobs.machines.systems import QuantizedModel, halo_system
from haloquant.records import LayerTiles, MacProfile, OperatingPoint

SERIAL_DIGITS = 8


@dataclass(frozen=True, slots=True)
class ElementRow:
    """One element on one pass.

    `after` names its source. `frequency_hz` is the clock of its fastest tiles. `mac_j` is the mean energy of the pass's
    multiply-accumulates, with attention. BOPs and EBOPs are those of one token through all quantized layers.
    """

    element: str
    after: str
    phase: str
    target: str
    frequency_hz: float
    cycles_per_mac: float
    mac_j: float
    time_s: float
    energy_j: float
    bound: str
    bops: float
    ebops: int


def compare_elements(
    model: QuantizedModel, workload: Workload, target: Target, stopped_digits: float | None = None
) -> list[ElementRow]:
    """Return rows for an array multiplier, HALO's words on it, and the elements of MixPE, QuartDepth and USEFUSE.

    Args:
        model: The model.
        workload: The pass.
        target: The machine.
        stopped_digits: Mean digits of a multiply-accumulate if negative sums before a ReLU stop early
            (`lm.evaluation.negative_sums`). It gives one more row, whose time and energy are those of an element that
            begins the next sum as soon as it stops.
    """
    plain = array_element(8, 8)
    slowest = float(plain.delay_s.max())
    # Each element has bits of inputs of its own, and no model of an element leaves inputs out.
    halo = halo_system(replace(model, input_bits=None, densities={}, density=None), workload, target).layer_tiles
    clocks = [slowest / slowest_delay_s(plain, 0, book.values) for book in model.classes.codebooks]

    def row(name: str, after: str, profile: MacProfile, bits: int, cycles: float = 1.0) -> ElementRow:
        tiles = model.only_quantized(_uniform(bits, workload, target))
        return _row(name, after, profile, [slowest / float(profile.delay_s.max())], cycles, tiles, workload, target)

    serial = serial_element(SERIAL_DIGITS)
    stopped: list[ElementRow] = []
    if stopped_digits is not None:
        fewer = replace(serial, energy_j=serial.energy_j * (stopped_digits / SERIAL_DIGITS))
        stopped = [row("W8A8 bit-serial, early stop", "USEFUSE, arXiv 2412.13724", fewer, 8, stopped_digits)]
    return [
        row("W8A8 array", "AND rows and ripple adders", plain, 8),
        _row("HALO on W8A8 array", "this project", plain, clocks, 1.0, halo, workload, target),
        row("W4A8 shift-and-add", "MixPE, arXiv 2411.16158", array_element(4, 8), 4),
        row("W4A4 array", "QuartDepth, arXiv 2503.16709", array_element(4, 4), 4),
        row("W8A8 bit-serial", "USEFUSE, arXiv 2412.13724", serial, 8, float(SERIAL_DIGITS)),
        *stopped,
    ]


def _uniform(bits: int, workload: Workload, target: Target) -> dict[str, LayerTiles]:
    """Return random tiles: Gaussian weights on the symmetric integers of `bits` bits."""
    values = uniform_values(bits)
    mix = [ClassMix(1.0, values, gaussian_frequency(values))]
    stored = Encoding(code_bits=float(bits), scale_bits=16.0 if bits < 8 else 0.0)
    return synthetic_workload(workload, target.array.columns, target.array.rows, mix, stored)


def _row(
    name: str,
    after: str,
    profile: MacProfile,
    ratios: list[float],
    cycles: float,
    tiles: Mapping[str, LayerTiles],
    workload: Workload,
    target: Target,
) -> ElementRow:
    """Simulate one element; `ratios` are the clocks of its classes divided by the machine's base clock."""
    base = target.base
    points = tuple(OperatingPoint(base.voltage_v, base.frequency_hz * ratio) for ratio in ratios)
    own = min(points, key=lambda point: point.frequency_hz)  # the clock that all values meet; attention runs at it
    machine = replace(target, points=(own,), array=replace(target.array, claimed_clocks=False))
    system = System(name, tiles, points, profile.activation_bits, after)
    runs = [
        run_system(system, workload, machine, profile, plan, policy, cycles_per_mac=float(cycles))
        for policy in POLICIES
    ]
    run = min(runs, key=lambda run: run.time_s)
    return ElementRow(
        name, after, workload.phase, target.name, max(point.frequency_hz for point in points), cycles,
        run.total.energy_j["mac"] / workload.macs, run.time_s, run.total.total_energy_j, limiting_resource(run),
        sum(bops(layer, profile.activation_bits) for layer in tiles.values()),
        sum(ebops(layer, profile.activation_bits) for layer in tiles.values()),
    )  # fmt: skip
