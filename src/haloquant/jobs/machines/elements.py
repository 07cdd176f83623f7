"""Other processing elements on the same machine, counted in full adders: what a structure does, not silicon.

Each element is clocked as much faster or slower than a plain 8-bit array multiplier as its own slowest value is; its
weights are uniform at its own bits, those of the head too where the model quantizes it. Beside times stand BOPs and
EBOPs of one token.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from haloquant.accel.bit_operations import bops, ebops
from haloquant.accel.chart_rows import limiting_resource
from haloquant.accel.comparison import run_system
from haloquant.accel.processing_elements import array_element, serial_element
from haloquant.accel.rivals import System, uniform_values
from haloquant.accel.target import Target
from haloquant.accel.workload.passes import Workload
from haloquant.accel.workload.synthetic_tiles import ClassMix, Encoding, gaussian_frequency, synthetic_workload
from haloquant.dvfs.operating_points import slowest_delay_s
from haloquant.dvfs.schedule import plan
from haloquant.jobs.machines.method_cost import POLICIES
from haloquant.jobs.machines.systems import Loaded, halo_system
from haloquant.records import LayerTiles, MacProfile, OperatingPoint

SERIAL_DIGITS = 8


@dataclass(frozen=True, slots=True)
class ElementRow:
    """One element on one pass. BOPs and EBOPs are of one token through all quantized layers."""

    element: str
    after: str
    phase: str
    target: str
    frequency_hz: float  # of its fastest tiles
    cycles_per_mac: int
    mac_j: float  # mean over the multiply-accumulates of this pass, attention included
    time_s: float
    energy_j: float
    bound: str
    bops: float
    ebops: int


def compare_elements(loaded: Loaded, workload: Workload, target: Target) -> list[ElementRow]:
    """Return a plain array multiplier, HALO's words on it, and the elements of MixPE, QuartDepth and USEFUSE."""
    plain = array_element(8, 8)
    slowest = float(plain.delay_s.max())
    halo = halo_system(loaded, workload, target, "boost").layer_tiles
    clocks = [slowest / slowest_delay_s(plain, 0, book.values) for book in loaded.classes.codebooks]

    def row(name: str, after: str, profile: MacProfile, bits: int, cycles: int = 1) -> ElementRow:
        tiles = loaded.only_quantized(_uniform(bits, workload, target))
        return _row(name, after, profile, [slowest / float(profile.delay_s.max())], cycles, tiles, workload, target)

    return [
        row("W8A8 array", "AND rows and ripple adders", plain, 8),
        _row("HALO on W8A8 array", "this project", plain, clocks, 1, halo, workload, target),
        row("W4A8 shift-and-add", "MixPE, arXiv 2411.16158", array_element(4, 8), 4),
        row("W4A4 array", "QuartDepth, arXiv 2503.16709", array_element(4, 4), 4),
        row("W8A8 bit-serial", "USEFUSE, arXiv 2412.13724", serial_element(SERIAL_DIGITS), 8, SERIAL_DIGITS),
    ]


def _uniform(bits: int, workload: Workload, target: Target) -> dict[str, LayerTiles]:
    """Gaussian weights on the symmetric integers of so many bits."""
    values = uniform_values(bits)
    mix = [ClassMix(1.0, values, gaussian_frequency(values))]
    stored = Encoding(code_bits=float(bits), scale_bits=16.0 if bits < 8 else 0.0)
    return synthetic_workload(workload, target.array.columns, target.array.rows, mix, stored)


def _row(
    name: str,
    after: str,
    profile: MacProfile,
    ratios: list[float],
    cycles: int,
    tiles: Mapping[str, LayerTiles],
    workload: Workload,
    target: Target,
) -> ElementRow:
    """Simulate one element: `ratios` are the clocks of its classes over the machine's base clock."""
    base = target.base
    points = tuple(OperatingPoint(base.voltage_v, base.frequency_hz * ratio) for ratio in ratios)
    own = min(points, key=lambda point: point.frequency_hz)  # what all values meet: attention and the check's measure
    machine = replace(target, points=(own,), array=replace(target.array, claimed_clocks=False))
    system = System(name, tiles, points, profile.activation_bits, after)
    runs = [
        run_system(system, workload, machine, profile, plan, policy, cycles_per_mac=float(cycles))
        for policy in POLICIES
    ]
    run = min(runs, key=lambda made: made.time_s)
    return ElementRow(
        name, after, workload.phase, target.name, max(point.frequency_hz for point in points), cycles,
        run.total.energy_j["mac"] / workload.macs, run.time_s, run.total.total_energy_j, limiting_resource(run),
        sum(bops(layer, profile.activation_bits) for layer in tiles.values()),
        sum(ebops(layer, profile.activation_bits) for layer in tiles.values()),
    )  # fmt: skip
