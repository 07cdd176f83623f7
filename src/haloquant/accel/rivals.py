"""Rivals on the same machine through the same tables: their clock and energy come from the weight values they use.

A rival whose values are as fast as a codebook's gets that codebook's clock; one with few bits may also place them where
the multiplier likes them best (a 4-bit grid on the upper bits of an 8-bit multiplier).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Int16

from haloquant.accel.billing.layer_work import mean_energy_j
from haloquant.accel.clock_checks import present_values
from haloquant.accel.workload.passes import Workload
from haloquant.accel.workload.synthetic_tiles import ClassMix, Encoding, gaussian_frequency, synthetic_workload
from haloquant.dvfs.operating_points import rows_of, slowest_delay_s
from haloquant.errors import InputError
from haloquant.records import BitCount, Codebook, LayerTiles, MacProfile, OperatingPoint, TileGrid


@dataclass(frozen=True)
class System:
    """A quantized model ready for the machine: its tiles, and the operating point of each of their classes.

    FP16 has no tiles: every layer runs in floating point at the base. `why` says how it came to its clocks.
    """

    name: str
    layer_tiles: Mapping[str, LayerTiles]
    points: tuple[OperatingPoint, ...]
    kv_bits: int
    why: str


def uniform_values(bits: int, shift: int = 0) -> Int16[np.ndarray, " v"]:
    """Return the symmetric integers of `bits` bits, moved up by `shift` places: -7..7 for 4 bits, or by 4 -112..112.

    Raises:
        InputError: if the bits are not 2 to 8 or the values leave 8 bits.
    """
    if not 2 <= bits <= 8:
        raise InputError(f"bits of a uniform grid must be 2 to 8, not {bits}.")
    if not 0 <= shift <= 8 - bits:
        raise InputError(f"shift of a {bits}-bit grid must be 0 to {8 - bits} places, not {shift}.")
    most = (1 << (bits - 1)) - 1
    return (np.arange(-most, most + 1) * (1 << shift)).astype(np.int16)


def allowed_point(
    profile: MacProfile, corner: int, values: Sequence[int], codebooks: Sequence[Codebook], base: OperatingPoint
) -> tuple[OperatingPoint, str]:
    """Return the fastest point that these values may run at, and why.

    The measure is the one our own codebooks are held to: a codebook's point is allowed to every set of values that is
    no slower than the codebook's slowest.
    """
    own = slowest_delay_s(profile, corner, values)
    best, why = base, "its values are slower than those of every faster class"
    for codebook in codebooks:
        limit = slowest_delay_s(profile, corner, codebook.values)
        if own <= limit * (1 + 1e-12) and codebook.point.frequency_hz > best.frequency_hz:
            best, why = codebook.point, f"its values are no slower than those of class {codebook.name}"
    return best, why


def float_system() -> System:
    """Return 16-bit floating point: no tiles, keys and values in 16 bits too."""
    return System("FP16", {}, (), 16, "floating point runs at the base clock")


def uniform_system(
    workload: Workload,
    grid: tuple[int, int],
    bits: int,
    profile: MacProfile,
    corner: int,
    codebooks: Sequence[Codebook],
    base: OperatingPoint,
    kv_bits: int = 8,
) -> System:
    """Return uniform quantization at `bits` bits per weight and group 128, from shapes, at the best of its placements.

    Of the shifts that fit the 8-bit multiplier the one with the fastest clock is taken, then the least energy: what an
    architect would do. The head stays in 8 bits and is a class of its own. Frequencies are those of Gaussian weights.

    Args:
        workload: The pass.
        grid: Tile sizes (out, in).
        bits: Bits per weight.
        profile: The multiplier.
        corner: The profile's corner.
        codebooks: Our classes, whose clocks rivals may use if their values allow.
        base: The point of all 256 values.
        kv_bits: Bits of keys and values.
    """
    options: list[tuple[float, float, int, OperatingPoint, str]] = []
    for shift in range(9 - bits):
        values = uniform_values(bits, shift)
        point, why = allowed_point(profile, corner, values.tolist(), codebooks, base)
        energy = float(gaussian_frequency(values) @ _energies(profile, corner, values))
        options.append((-point.frequency_hz, energy, shift, point, why))
    _, _, shift, point, why = min(options, key=lambda option: option[:3])
    values, eight = uniform_values(bits, shift), uniform_values(8)
    body, head = (ClassMix(1.0, v, gaussian_frequency(v)) for v in (values, eight))
    tiles = synthetic_workload(
        workload,
        grid[0],
        grid[1],
        [body, replace(head, share=0.0)],
        Encoding(code_bits=float(bits), scale_bits=16.0 if bits < 8 else 0.0),
        [replace(body, share=0.0), head],
        Encoding(code_bits=8.0, scale_bits=0.0),
    )
    placed = f" (x{1 << shift})" if shift else ""
    head_point, _ = allowed_point(profile, corner, eight.tolist(), codebooks, base)
    return System(f"W{bits}A8{placed}", tiles, (point, head_point), kv_bits, why)


def measured_system(
    name: str,
    layer_tiles: Mapping[str, LayerTiles],
    profile: MacProfile,
    corner: int,
    codebooks: Sequence[Codebook],
    base: OperatingPoint,
    kv_bits: int = 8,
) -> System:
    """Return a rival's checkpoint (`value_tiles` of each layer) at the one clock that all its values allow."""
    values = present_values(layer_tiles.values())
    point, why = allowed_point(profile, corner, values, codebooks, base)
    return System(name, layer_tiles, (point,), kv_bits, why)


def value_tiles(
    layer: str, mac_values: Int16[np.ndarray, "out in"], grid: TileGrid, bits: BitCount, nnz: int = 0
) -> LayerTiles:
    """Return the tiles of a rival's real layer, all of class 0, from the integers it multiplies with.

    Raises:
        InputError: if the values are not of the grid's layer.
    """
    if mac_values.shape != (grid.out_features, grid.in_features):
        raise InputError(
            f"values of {layer} must be {grid.out_features} x {grid.in_features} (out x in), "
            f"not {' x '.join(map(str, mac_values.shape))}."
        )
    values = np.unique(mac_values)
    if 0 not in values:
        values = np.sort(np.append(values, np.int16(0)))
    zero = int(np.searchsorted(values, 0))
    low, high = int(values[0]), int(values[-1])
    lookup = np.zeros(high - low + 1, np.int64)
    lookup[values.astype(np.int64) - low] = np.arange(len(values))
    counts = np.zeros((grid.down, grid.across, len(values)), np.min_scalar_type(-grid.tile_out * grid.tile_in))
    across = np.arange(grid.in_features) // grid.tile_in * len(values)
    for down in range(grid.down):
        strip = mac_values[down * grid.tile_out : (down + 1) * grid.tile_out].astype(np.int64)
        flat = np.bincount((lookup[strip - low] + across).ravel(), minlength=grid.across * len(values))
        counts[down] = flat.reshape(grid.across, len(values))
    counts[:, :, zero] += grid.tile_out * grid.tile_in - counts.sum(axis=2)
    classes = np.zeros((grid.down, grid.across), np.uint8)
    return LayerTiles(layer, grid, classes, values.astype(np.int16), counts, nnz, bits)


def _energies(profile: MacProfile, corner: int, values: Int16[np.ndarray, " v"]) -> np.ndarray:
    """Energy of each value; the mean of all where it was not simulated (the choice between placements only)."""
    energy = profile.energy_j[corner][rows_of(profile, values)]
    return np.where(np.isfinite(energy), energy, mean_energy_j(profile, corner))
