"""Rival quantization methods on the same machine and profile: clock and energy follow from their weight values.

A rival whose values are as fast as those of a codebook gets that codebook's clock. A rival with few bits may also shift
its values to the bits of the 8-bit multiplier that are fastest (for example a 4-bit grid to the upper bits).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Int16

from haloquant.accel.workload.prefill_decode import Workload
from haloquant.accel.workload.synthetic_tiles import ClassMix, Encoding, gaussian_frequency, synthetic_workload
from haloquant.dvfs.operating_points import Values, best_shift, slowest_delay_s
from haloquant.errors import InputError
from haloquant.records import BitCount, Codebook, LayerTiles, MacProfile, OperatingPoint, TileGrid


@dataclass(frozen=True)
class System:
    """A quantized model on a machine: its tiles, and the operating point of each class of tiles.

    FP16 has no tiles; every layer runs in floating point. `why` states the reason for the clocks. `untiled` is the
    point of layers without tiles, such as attention and floating point; None means the machine's base point.
    """

    name: str
    layer_tiles: Mapping[str, LayerTiles]
    points: tuple[OperatingPoint, ...]
    kv_bits: int
    why: str
    untiled: OperatingPoint | None = None


def uniform_values(bits: int, shift: int = 0) -> Int16[np.ndarray, " v"]:
    """Return the symmetric integers of `bits` bits times 2**shift: -7..7 for 4 bits, -112..112 with shift 4.

    Raises:
        InputError: The bits are not 2 to 8, or the values do not fit in 8 bits.
    """
    if not 2 <= bits <= 8:
        raise InputError(f"bits of a uniform grid must be 2 to 8, not {bits}")
    if not 0 <= shift <= 8 - bits:
        raise InputError(f"shift of a {bits}-bit grid must be 0 to {8 - bits} bits, not {shift}")
    most = (1 << (bits - 1)) - 1
    return (np.arange(-most, most + 1) * (1 << shift)).astype(np.int16)


def allowed_point(
    profile: MacProfile, corner: int, values: Values, codebooks: Sequence[Codebook], base: OperatingPoint
) -> tuple[OperatingPoint, str]:
    """Return the fastest point that these values may run at, and the reason.

    The rule is that of HALO's own codebooks: a codebook's point is allowed for every set of values whose slowest value
    is no slower than the codebook's.

    Raises:
        ProfileError: The profile lacks one of the values.
    """
    own = slowest_delay_s(profile, corner, values)
    best, why = base, "its values are slower than those of every faster class"
    for codebook in codebooks:
        limit = slowest_delay_s(profile, corner, codebook.values)
        if own <= limit * (1 + 1e-12) and codebook.point.frequency_hz > best.frequency_hz:
            best, why = codebook.point, f"its values are no slower than those of class {codebook.name}"
    return best, why


def float_system() -> System:
    """Return 16-bit floating point: no tiles, and keys and values in 16 bits."""
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
    """Return uniform quantization at `bits` bits per weight and groups of 128, with tiles made from shapes.

    `best_shift` chooses the shift of the integers in the 8-bit multiplier, by the clocks that they may use. The head
    stays in 8 bits and is a class of its own. Values are as frequent as for Gaussian weights.

    Args:
        workload: The pass.
        grid: Tile sizes (out, in).
        bits: Bits per weight.
        profile: The multiplier.
        corner: The profile's corner.
        codebooks: HALO's classes. The rival may use their clocks if its values allow.
        base: The point at which all 256 values meet timing.
        kv_bits: Bits of keys and values.
    """

    def period_s(values: Values) -> float:
        return allowed_point(profile, corner, values, codebooks, base)[0].period_s

    plain = uniform_values(bits)
    shift = best_shift(profile, corner, plain, gaussian_frequency(plain), period_s) or 0
    values, eight = uniform_values(bits, shift), uniform_values(8)
    point, why = allowed_point(profile, corner, values, codebooks, base)
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
    head_point, _ = allowed_point(profile, corner, eight, codebooks, base)
    return System(f"W{bits}A8{placed}", tiles, (point, head_point), kv_bits, why)


def value_tiles(
    layer: str, mac_values: Int16[np.ndarray, "out in"], grid: TileGrid, bits: BitCount, nnz: int = 0
) -> LayerTiles:
    """Return the tiles of a rival's layer, all of class 0, from the integers that it multiplies with.

    Raises:
        InputError: The values are not of the grid's size.
    """
    if mac_values.shape != (grid.out_features, grid.in_features):
        raise InputError(
            f"values of {layer} must be {grid.out_features} x {grid.in_features} (out x in), "
            f"not {' x '.join(map(str, mac_values.shape))}"
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
