"""What a side branch costs on a machine, against a count by hand."""

from dataclasses import replace

import pytest

from haloquant.accel.cost_model.layer_work import mean_energy_j
from haloquant.accel.workload.prefill_decode import prefill
from haloquant.accel.workload.side_branches import with_branches
from haloquant.jobs.machines.drawn_tiles import draw_tiles
from haloquant.jobs.machines.method_cost import best_pass, single_class_point
from haloquant.jobs.machines.systems import halo_system
from haloquant.store.targets import read_systolic
from support.machine_models import LOADED, SHAPE

EDGE = read_systolic("edge_lpddr5x")
RANK, TOKENS = 8, 64


def test_a_branch_costs_its_multiply_accumulates_in_floating_point_and_its_bytes() -> None:
    step = prefill(SHAPE, TOKENS)
    plain = {
        name: replace(part, classes=0 * part.classes, sparse_nnz=0)
        for name, part in halo_system(LOADED, step, EDGE).layer_tiles.items()
    }
    numbers = {name: RANK * (part.grid.in_features + part.grid.out_features) for name, part in plain.items()}
    branched = {
        name: replace(part, bits=replace(part.bits, branches=16 * numbers[name]), branch_rank=RANK)
        for name, part in plain.items()
    }
    point = single_class_point(EDGE, 1.0)
    without, with_ = (
        best_pass(step, tiles, point, EDGE, LOADED.classes, "x").simulation for tiles in (plain, branched)
    )
    rows = {gemm.layer: gemm.m for gemm in step.gemms}
    macs = sum(rows[name] * count for name, count in numbers.items())
    assert with_.macs - without.macs == macs
    profile = LOADED.classes.profile
    each_j = mean_energy_j(profile, 0) * EDGE.array.float_energy
    assert with_.total.energy_j["mac"] - without.total.energy_j["mac"] == pytest.approx(macs * each_j, rel=1e-9)
    assert with_.dram_bytes - without.dram_bytes == pytest.approx(2 * sum(numbers.values()))
    assert with_.total.total_time_s > without.total.total_time_s


def test_without_branches_nothing_changes() -> None:
    step = prefill(SHAPE, TOKENS)
    tiles = halo_system(LOADED, step, EDGE).layer_tiles
    assert with_branches(step, tiles) == (step, tiles)


def test_a_named_shape_gets_branches_of_the_measured_rank() -> None:
    step = prefill(SHAPE, TOKENS)
    name, part = next(iter(halo_system(LOADED, step, EDGE).layer_tiles.items()))
    one = {name: replace(part, bits=replace(part.bits, branches=1 << 20), branch_rank=3)}
    drawn = draw_tiles(one, step, part.grid.tile_in, 0)
    grid = drawn[name].grid
    assert drawn[name].bits.branches == 16 * 3 * (grid.in_features + grid.out_features)
    assert drawn[name].bits.codes == draw_tiles({name: part}, step, part.grid.tile_in, 0)[name].bits.codes
