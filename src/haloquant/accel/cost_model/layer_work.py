"""Work of each layer of a workload on a machine, before an order or a clock is chosen."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

from haloquant.accel.target import Target
from haloquant.accel.workload.prefill_decode import Workload
from haloquant.dvfs.operating_points import rows_of
from haloquant.errors import InputError, ProfileError
from haloquant.records import Gemm, LayerTiles, MacProfile


@dataclass(frozen=True)
class LayerWork:
    """One matrix product on one machine. Bytes count one pass; energies hold at the profile's corner."""

    gemm: Gemm
    tiles: LayerTiles | None
    folds: int  # weight tiles, over all of `gemm.count`
    cycles_per_mac: float  # array cycles per streamed row and loaded row, 1 for an 8-bit integer multiplier
    floating: bool
    tile_j: Float64[np.ndarray, "down across"] | None  # energy of each tile per activation row
    mean_tile_j: float  # energy of a tile per activation row where there is no tile map
    weight_bytes: float  # of the stationary operand as stored
    input_bytes: float
    output_bytes: float
    nnz: int  # weights in the sparse part


def layer_works(
    workload: Workload,
    layer_tiles: Mapping[str, LayerTiles],
    target: Target,
    profile: MacProfile,
    corner: int,
    kv_bits: int,
    cycles_per_mac: float,
    passes: Mapping[str, int] | None = None,
) -> list[LayerWork]:
    """Return the work of every product of a workload.

    A product without tiles is attention (operands of `kv_bits`; 16 means floating point) or a layer that is left in
    16-bit floating point. The operands of attention may be any values, so its energy is the mean over all of them.
    `passes` says how often the array runs over a layer whose weights are wider than its multipliers; 1 if it is absent.

    Inputs of a layer move at the width to which they are rounded (`LayerTiles.input_bits`). Narrower ones than the
    multipliers take are multiplied in the same cycles with the same energy; wider ones take several passes. Outputs are
    as wide as the multipliers' inputs, and so are the operands of attention.

    Raises:
        InputError: A size is not positive, tiles are not of the array's size, or layers of one group differ in rows.
        ProfileError: The profile lacks a weight value or its energy.
    """
    rows, columns = target.array.rows, target.array.columns
    energy = profile.energy_j[corner]
    known: dict[int, Float64[np.ndarray, "down across"]] = {}
    group_rows: dict[int, int] = {}
    works: list[LayerWork] = []
    for gemm in workload.gemms:
        _check_sizes(gemm)
        if group_rows.setdefault(gemm.group, gemm.m) != gemm.m:
            raise InputError(
                f"layers of one dependency group must have equal rows, not {group_rows[gemm.group]} and {gemm.m} "
                f"({gemm.layer})"
            )
        tiles = layer_tiles.get(gemm.layer)
        times = 1 if passes is None else passes.get(gemm.layer, 1)
        folds = -(-gemm.k // rows) * -(-gemm.n // columns) * gemm.count
        if tiles is None:
            floating = kv_bits > 8 if not gemm.weight_stationary else True
            bits = kv_bits if not gemm.weight_stationary else 16
            layer_cycles_per_mac = 1.0 / target.array.float_rate if floating else cycles_per_mac * times
            mean = mean_energy_j(profile, corner) * (target.array.float_energy if floating else float(times))
            works.append(
                LayerWork(
                    gemm,
                    None,
                    folds,
                    layer_cycles_per_mac,
                    floating,
                    None,
                    mean * gemm.k * gemm.n * gemm.count / folds,
                    gemm.k * gemm.n * gemm.count * bits / 8,
                    gemm.m * gemm.k * gemm.count * (2.0 if floating else profile.activation_bits / 8),
                    gemm.m * gemm.n * gemm.count * (2.0 if floating else profile.activation_bits / 8),
                    0,
                )
            )
            continue
        grid = tiles.grid
        if (grid.tile_out, grid.tile_in) != (columns, rows):
            raise InputError(
                f"tiles of {gemm.layer} must be {columns} x {rows} (out x in) as the array of {target.name} is, "
                f"not {grid.tile_out} x {grid.tile_in}"
            )
        if id(tiles.histogram) not in known:
            known[id(tiles.histogram)] = _tile_energy(tiles, profile, energy)
        tile_j = known[id(tiles.histogram)]
        width = profile.activation_bits
        if tiles.input_bits is not None:
            width, times = tiles.input_bits.mean, times * tiles.input_bits.passes(profile.activation_bits)
        works.append(
            LayerWork(
                gemm,
                tiles,
                folds,
                cycles_per_mac * times,
                False,
                tile_j if times == 1 else times * tile_j,
                0.0,
                tiles.bits.total / 8,
                gemm.m * gemm.k * width / 8,
                gemm.m * gemm.n * profile.activation_bits / 8,
                tiles.sparse_nnz,
            )
        )
    return works


def mean_energy_j(profile: MacProfile, corner: int) -> float:
    """Return the energy in J of arbitrary operands: the mean over the weight values whose energy is known, else NaN."""
    energy = profile.energy_j[corner]
    known = energy[np.isfinite(energy)]
    return float(known.mean()) if known.size else float("nan")


def _tile_energy(
    tiles: LayerTiles, profile: MacProfile, energy: Float64[np.ndarray, " w"]
) -> Float64[np.ndarray, "down across"]:
    """Energy in J of one activation row through each tile: sum over values of (count in the tile) x (energy)."""
    value_j = energy[rows_of(profile, tiles.values, f"weight values of {tiles.layer}")]
    known_j = np.where(np.isfinite(value_j), value_j, 0.0)
    for number in np.flatnonzero(~np.isfinite(value_j)):
        if bool(tiles.histogram[:, :, number].any()):
            raise ProfileError(
                f"energy of weight value {int(tiles.values[number])} must be known to profile {profile.name}, not NaN; "
                "characterize it with energy"
            )
    total = np.zeros((tiles.grid.down, tiles.grid.across), np.float64)
    for first in range(0, tiles.grid.down, 16):  # in strips, so that no second copy of the histogram is made
        rows = slice(first, first + 16)
        total[rows] = tiles.histogram[rows].astype(np.float64) @ known_j
    return total


def _check_sizes(gemm: Gemm) -> None:
    for name in ("m", "k", "n", "count"):
        if getattr(gemm, name) <= 0:
            raise InputError(f"{name} of {gemm.layer} must be at least 1, not {getattr(gemm, name)}")
