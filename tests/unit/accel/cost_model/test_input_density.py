"""Time, energy and bytes of a layer whose tokens leave inputs out, by hand."""

from dataclasses import replace

import numpy as np
import pytest

from haloquant.accel.cost_model.input_density import gathered_bytes, multiplier_energy, with_sparse_inputs
from haloquant.accel.cost_model.layer_work import layer_works
from haloquant.accel.target import SparseRows
from haloquant.accel.workload.prefill_decode import Workload
from haloquant.records import BitCount, Gemm, LayerTiles, TileGrid
from support.accel_cases import toy_profile, toy_target

GRID = TileGrid(256, 128, 128, 128)


def _tiles(density: float, code_bits: float = 4.0) -> LayerTiles:
    """Two tiles of weights of 1 with 4-bit codes, 1,000 bits of scales and no sparse part."""
    bits = BitCount(weights=GRID.out_features * GRID.in_features, codes=int(32768 * code_bits), scales=1000)
    histogram = np.full((2, 1, 1), 128 * 128)
    values = np.array([1], np.int16)
    return LayerTiles("layer", GRID, np.zeros((2, 1), np.uint8), values, histogram, 0, bits, 0, density)


def _work(density: float, m: int, rows: SparseRows, phase: str = "decode"):
    target = toy_target(128, 128)
    target = replace(target, array=replace(target.array, sparse_rows=rows))
    workload = Workload("w", "prefill" if phase == "prefill" else "decode", (Gemm("layer", m, 128, 256, 0),), m, m, 16)
    works = layer_works(workload, {"layer": _tiles(density)}, target, toy_profile(), 0, 8, 1.0)
    return works[0], with_sparse_inputs(works, workload, target)[0]


def test_a_plain_array_gains_energy_only() -> None:
    dense, sparse = _work(0.5, 1, "none")
    assert (sparse.cycles_per_mac, sparse.weight_bytes) == (dense.cycles_per_mac, dense.weight_bytes)
    assert dense.tile_j is not None and sparse.tile_j is not None
    np.testing.assert_allclose(sparse.tile_j, multiplier_energy(0.5) * dense.tile_j)


def test_an_array_that_gathers_rows_loads_and_reads_the_share_that_is_kept() -> None:
    """A kept input is one burst of 64 bytes for 128 outputs in 4 bits: 128 inputs x 2 rows of tiles x 64 B / 4."""
    dense, sparse = _work(0.25, 1, "gather")
    assert sparse.cycles_per_mac == dense.cycles_per_mac / 4
    assert sparse.weight_bytes == 128 * 2 * 64 / 4 + 1000 / 8
    assert dense.tile_j is not None and sparse.tile_j is not None
    np.testing.assert_allclose(sparse.tile_j, dense.tile_j / 4)


def test_rows_of_several_tokens_differ_so_none_is_left_out() -> None:
    dense, sparse = _work(0.25, 2, "gather")
    assert (sparse.cycles_per_mac, sparse.weight_bytes) == (dense.cycles_per_mac, dense.weight_bytes)
    assert sparse.tile_j is not None and dense.tile_j is not None
    np.testing.assert_allclose(sparse.tile_j, multiplier_energy(0.25) * dense.tile_j)


@pytest.mark.parametrize(("density", "phase"), [(1.0, "decode"), (0.5, "prefill")])
def test_a_prompt_and_a_dense_layer_stay_as_they_are(density: float, phase: str) -> None:
    dense, sparse = _work(density, 1, "gather", phase)
    assert sparse is dense


def test_bytes_of_eight_bit_codes_are_two_bursts() -> None:
    assert gathered_bytes(_tiles(1.0, 8.0), 1.0) == 128 * 2 * 128 + 1000 / 8


def test_energy_falls_by_less_than_the_zeros() -> None:
    """A change to zero and back toggles more than one between two values: more than the density is left."""
    assert multiplier_energy(1.0) == 1 and multiplier_energy(0.0) == 0
    assert all(multiplier_energy(density) > density for density in np.linspace(0.05, 0.95, 19))
    assert multiplier_energy(0.75) > 1 > multiplier_energy(0.5)
