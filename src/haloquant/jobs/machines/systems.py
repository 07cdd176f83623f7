"""Systems to simulate on a machine: HALO on a packed model or on a named shape without weights, and its rivals."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from haloquant.accel.results import Simulation
from haloquant.accel.rival_systems import System, float_system, uniform_system, uniform_values
from haloquant.accel.target import Target
from haloquant.accel.workload.decoder_shape import ModelShape
from haloquant.accel.workload.model_shapes import named_shape
from haloquant.accel.workload.prefill_decode import Workload
from haloquant.accel.workload.synthetic_tiles import ClassMix, Encoding, gaussian_frequency, synthetic_workload
from haloquant.dvfs.classes import Classes, choose_classes
from haloquant.dvfs.operating_points import period_for
from haloquant.dvfs.schedule import Policy
from haloquant.errors import InputError
from haloquant.jobs.machines import method_cost
from haloquant.jobs.machines.model_layers import shape_of_packed
from haloquant.jobs.machines.supply_law import SupplyLaw, choose_supply_law, lower_supply
from haloquant.lm.packed.reader import iterate_layers, open_packed, read_mask
from haloquant.quant.codebook import gaussian_sample
from haloquant.quant.tile_histogram import layer_tiles
from haloquant.records import Codebook, InputBits, LayerTiles, MacProfile, OperatingPoint
from haloquant.records.layer_names import HEAD
from haloquant.store.profiles import profile_sha256


@dataclass(frozen=True)
class QuantizedModel:
    """A model to simulate: its shape, its classes and its tiles.

    `tiles` holds the tiles of a packed model's layers. It is None for a named shape: then tiles are drawn at random for
    each workload, with a share `fast_share` of fast tiles. `densities` holds the share of its inputs that a generated
    token multiplies, of the layers of a packed model that leave inputs out; `density` is that of all layers but the
    head, if one is asked for. `input_bits` are the bits of the inputs of all quantized layers, if they are asked for or
    a packed model stores them.
    """

    name: str
    shape: ModelShape
    classes: Classes
    tiles: Mapping[str, LayerTiles] | None
    fast_share: float
    densities: Mapping[str, float] = field(default_factory=dict[str, float])
    density: float | None = None
    input_bits: InputBits | None = None

    def with_density(self, tiles: Mapping[str, LayerTiles]) -> dict[str, LayerTiles]:
        """Return tiles with the share of its inputs that a generated token multiplies in every layer."""

        def share(layer: str, own: float) -> float:
            return self.densities.get(layer, own) if self.density is None or layer == HEAD else self.density

        return {name: replace(part, input_density=share(name, part.input_density)) for name, part in tiles.items()}

    def with_input_bits(self, tiles: Mapping[str, LayerTiles]) -> dict[str, LayerTiles]:
        """Return tiles with the bits of their inputs that are asked for, if any are."""
        return method_cost.with_input_bits(tiles, self.input_bits)

    def only_quantized(self, tiles: Mapping[str, LayerTiles]) -> dict[str, LayerTiles]:
        """Return the tiles of the layers that this model quantizes.

        A named shape quantizes all layers; a packed model those that it stores tiles of.
        """
        return {name: part for name, part in tiles.items() if self.tiles is None or name in self.tiles}

    def left_floating(self, workload: Workload) -> tuple[str, ...]:
        """Return the layers with weights that this model leaves in 16-bit floating point."""
        stationary = [gemm.layer for gemm in workload.gemms if gemm.weight_stationary]
        return tuple(name for name in stationary if self.tiles is not None and name not in self.tiles)


def load_packed(folder: Path, profile: MacProfile) -> QuantizedModel:
    """Return a packed model with its own codebooks.

    Raises:
        InputError: The model was made for another MAC than `profile`.
    """
    packed = open_packed(folder)
    config = packed.config
    if config.profile_sha256 != profile_sha256(profile):
        raise InputError(
            f"{folder} must be simulated with the profile it was made for, {config.profile_name}, not {profile.name}; "
            "name it with --profile"
        )
    books = tuple(_timed(book, profile) for book in config.books())
    period = float(profile.delay_s[0].max())
    voltage = profile.corners[0].voltage_v
    base = Codebook("base", profile.weights, OperatingPoint(voltage, 1.0 / period), 0.0)
    tiles = {q.layer: layer_tiles(q) for q in iterate_layers(packed)}
    sizes = {name: (part.grid.out_features, part.grid.in_features) for name, part in tiles.items()}
    shape = shape_of_packed(packed, sizes, folder.name)
    fast = float(np.mean(np.concatenate([t.classes.ravel() for t in tiles.values()]) == 0))
    masks = {name: mask for name in tiles if (mask := read_mask(packed, name)) is not None}
    densities = {name: 1.0 - mask.sparsity for name, mask in masks.items()}
    mixed = config.stored_activations()
    bits = None if mixed is None else InputBits(mixed.bits, mixed.low_bits, mixed.low_share)
    classes = Classes(profile, 0, (*books, base))
    return QuantizedModel(folder.name, shape, classes, tiles, fast, densities, input_bits=bits)


def load_shape(name: str, profile: MacProfile, fast_share: float) -> QuantizedModel:
    """Return a named shape, with codebooks chosen for Gaussian weights and that share of fast tiles.

    Raises:
        InputError: There is no such shape, or the share is not between 0 and 1.
    """
    return model_of_shape(named_shape(name), profile, fast_share)


def model_of_shape(shape: ModelShape, profile: MacProfile, fast_share: float) -> QuantizedModel:
    """Return a shape with codebooks chosen for Gaussian weights and that share of fast tiles.

    Raises:
        InputError: The share is not between 0 and 1.
    """
    if not 0 <= fast_share <= 1:
        raise InputError(f"the share of fast tiles must be 0 to 1, not {fast_share:g}")
    classes = choose_classes(profile, 0, gaussian_sample(48), (("fast", 9, 2.5), ("slow", 16, 1.0)))
    return QuantizedModel(shape.name, shape, classes, None, fast_share)


def halo_system(model: QuantizedModel, workload: Workload, target: Target) -> System:
    """Return HALO on a machine, at the base supply and the clocks that its classes' values meet."""
    points = method_cost.class_points(target, model.classes)
    tiles = model.tiles if model.tiles is not None else _draw(model, workload, target)
    return System("HALO (boost)", model.with_input_bits(model.with_density(tiles)), points, 8, "its own classes")


def at_lower_supplies(system: System, target: Target, law: SupplyLaw, every_value: OperatingPoint) -> System:
    """Return a system at the base clock, each class at the lowest supply that its slowest value allows (mode eco).

    A class that does not meet the base clock keeps its own clock and the base supply. Layers without tiles hold any
    value: attention in 8 bits, and floating point, whose unit is as fast as the MAC's slowest value. Their supply is
    the one that every value allows.

    Args:
        system: The system at the base supply; its clocks are those that its values meet.
        target: The machine.
        law: The delay at a lower supply.
        every_value: The clock that all values of the MAC meet at the base supply.
    """
    points = tuple(lower_supply(point, target.base, law) for point in system.points)
    untiled = lower_supply(every_value, target.base, law)
    return replace(system, name=f"{system.name.removesuffix(' (boost)')} (eco)", points=points, untiled=untiled)


def rival_systems(model: QuantizedModel, workload: Workload, target: Target) -> list[System]:
    """Return FP16, W8A8, W4A8 and W3A8 with the MAC's delays and energies.

    Each rival may run at any clock that its weight values meet.

    Layers that a packed model leaves in floating point, such as its head, stay in floating point in the rivals too.
    """
    grid = (target.array.columns, target.array.rows)
    profile, corner = model.classes.profile, model.classes.corner
    # On a machine with claimed clocks only HALO's classes may use the faster ones.
    allowed = [] if target.array.claimed_clocks else _uniform_books(profile, corner, target.base)
    systems = [uniform_system(workload, grid, bits, profile, corner, allowed, target.base) for bits in (8, 4, 3)]
    kept = [model.with_input_bits(model.with_density(model.only_quantized(system.layer_tiles))) for system in systems]
    return [float_system(), *(replace(s, layer_tiles=tiles) for s, tiles in zip(systems, kept, strict=True))]


def _uniform_books(profile: MacProfile, corner: int, base: OperatingPoint) -> list[Codebook]:
    """Return the integers of 8, 4 and 3 bits at every place in the multiplier, each at the clock that they meet."""
    slowest = float(profile.delay_s[corner].max())
    books: list[Codebook] = []
    for bits in (8, 4, 3):
        for shift in range(9 - bits):
            values = uniform_values(bits, shift)
            ratio = slowest / period_for(profile, corner, values)
            point = OperatingPoint(base.voltage_v, base.frequency_hz * ratio)
            books.append(Codebook(f"{bits}-bit integers x{1 << shift}", values, point, 0.0))
    return books


def run_system(
    system: System,
    workload: Workload,
    target: Target,
    model: QuantizedModel,
    policies: Sequence[Policy] = method_cost.POLICIES,
    used: float = 1.0,
) -> Simulation:
    """Return the simulation of a system by its fastest policy, or at lower supplies by the one with the least energy.

    At lower supplies all clocks are equal, so the fastest order would be one that never lowers a supply. `used` is the
    share of the base period that the MAC's slowest value takes.
    """
    used_points = [*system.points, *([system.untiled] if system.untiled else [])]
    eco = any(point.voltage_v < target.base.voltage_v for point in used_points)
    law = choose_supply_law(model.classes.profile, target).delay if eco else method_cost.constant_delay
    cost = method_cost.pass_energy_j if eco else method_cost.pass_time_s
    run = method_cost.best_pass(
        workload, system.layer_tiles, system.points, target, model.classes, system.name,
        lambda voltage_v: used * law(voltage_v), policies, cost, system.untiled,
    )  # fmt: skip
    return run.simulation


def _timed(book: Codebook, profile: MacProfile) -> Codebook:
    """Return a stored codebook at the clock that the profile allows its values."""
    period = period_for(profile, 0, book.values)
    return replace(book, point=OperatingPoint(profile.corners[0].voltage_v, 1.0 / period), slack_s=0.0)


def _draw(model: QuantizedModel, workload: Workload, target: Target) -> dict[str, LayerTiles]:
    """Return random tiles of a shape: Gaussian weights on the words of each class, the head in 8 bits."""
    fast, slow, base = model.classes.codebooks
    frequency = [gaussian_frequency(book.values) for book in (fast, slow, base)]
    shares = (model.fast_share, 1.0 - model.fast_share, 0.0)
    mix = [ClassMix(s, b.values, f) for s, b, f in zip(shares, (fast, slow, base), frequency, strict=True)]
    head = [replace(m, share=float(i == 2)) for i, m in enumerate(mix)]
    bits = 3.2 * shares[0] + 4.0 * shares[1]
    return synthetic_workload(
        workload,
        target.array.columns,
        target.array.rows,
        mix,
        Encoding(code_bits=bits, sparse_share=0.005),
        head,
        Encoding(code_bits=8.0, scale_bits=0.0),
    )
