"""What a machine gains where tokens leave inputs out: energy, or energy, array cycles and DRAM bytes.

A weight-stationary array streams a token through tiles whose weights stand in it. Where an input is zero, the row of
its weights is still loaded and the cycle still passes. So a plain array (`sparse_rows = "none"`) gains energy only. The
energy of a multiplier falls by far less than the share of the zeros, because a change to zero and back toggles more
gates than one between two values does. At a quarter of zeros it is no lower at all.

An array that gathers rows (`"gather"`) reads from DRAM and loads only the rows whose input is not zero. It can do so
for one token at a time, as the rows of two tokens differ. The codes must then be stored column by column, 64 bytes for
128 outputs, so that every row that is left out saves a burst of DRAM.
"""

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from jaxtyping import Float64

from haloquant.accel.cost_model.layer_work import LayerWork
from haloquant.accel.target import Target
from haloquant.accel.workload.prefill_decode import Workload
from haloquant.records import LayerTiles

BURST_B = 64  # bytes that DRAM reads at a time: LPDDR5X with 16 beats of 32 bits, HBM with 64 bytes
# Mean energy of the default profile's multiplier over that at no zero, by the share of zero activations: simulated with
# all transitions of independent activations (bench/zero_activations.py).
ZEROS = (0.0, 0.25, 0.5, 0.75, 0.9, 1.0)
ENERGY = (1.0, 1.031, 0.875, 0.531, 0.235, 0.0)


def multiplier_energy(density: float) -> float:
    """Return the energy of a multiplier at a share of activations that are not zero, over that with none zero."""
    return float(np.interp(1.0 - density, ZEROS, ENERGY))


def with_sparse_inputs(works: Sequence[LayerWork], workload: Workload, target: Target) -> list[LayerWork]:
    """Return the work of layers whose tokens leave inputs out; in a prefill all inputs are multiplied.

    Args:
        works: work of every layer, with all inputs.
        workload: the pass.
        target: the machine.
    """
    if workload.phase == "prefill":
        return list(works)
    scaled: dict[tuple[int, float], Float64[np.ndarray, "down across"]] = {}  # layers that share energies keep doing so
    found: list[LayerWork] = []
    for work in works:
        tiles = work.tiles
        if tiles is None or work.tile_j is None or tiles.input_density == 1:
            found.append(work)
            continue
        density = tiles.input_density
        gathers = target.array.sparse_rows == "gather" and work.gemm.m == 1
        factor = density if gathers else multiplier_energy(density)
        key = id(work.tile_j), factor
        if key not in scaled:
            scaled[key] = factor * work.tile_j
        work = replace(work, tile_j=scaled[key])
        if gathers:
            work = replace(
                work,
                cycles_per_mac=work.cycles_per_mac * density,
                weight_bytes=min(work.weight_bytes, gathered_bytes(tiles, density)),  # whole columns may be more
            )
        found.append(work)
    return found


def gathered_bytes(tiles: LayerTiles, density: float) -> float:
    """Return the stored bytes that a token reads of a layer: whole bursts of the codes of the inputs that it keeps.

    Scales, sparse weights and maps are read as a whole.
    """
    grid = tiles.grid
    code_bits = 4 if tiles.bits.codes <= 4.5 * tiles.bits.weights else 8
    row_b = math.ceil(grid.tile_out * code_bits / 8 / BURST_B) * BURST_B
    rest = tiles.bits.total - tiles.bits.codes
    return density * grid.down * grid.in_features * row_b + rest / 8
