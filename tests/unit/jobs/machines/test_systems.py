"""HALO and its rivals as systems of one machine: boost, eco, and layers left in floating point."""

from dataclasses import replace

import pytest

from haloquant.accel.workload.prefill_decode import decode, prefill
from haloquant.dvfs.alpha_power_law import vf_curve
from haloquant.errors import InfeasibleError
from haloquant.jobs.machines.element_comparison import compare_elements
from haloquant.jobs.machines.method_cost import POLICIES
from haloquant.jobs.machines.sweeps import gpu_runs
from haloquant.jobs.machines.systems import ECO_PROFILE, halo_system, rival_systems, run_system
from haloquant.store.profiles import find_profile
from haloquant.store.targets import read_gpu, read_systolic
from support.machine_models import LOADED, SHAPE, at_three_voltages
from support.near import near


@pytest.mark.parametrize("name", ["edge_lpddr5x", "tpuv4i_like"])
def test_eco_keeps_the_clock_and_takes_the_order_that_draws_least(name: str) -> None:
    loaded, machine, step = at_three_voltages(), read_systolic(name), prefill(SHAPE, 256)
    eco = halo_system(loaded, step, machine, "eco")
    assert [point.frequency_hz for point in eco.points] == [machine.base.frequency_hz] * 3
    assert eco.points[0].voltage_v < eco.points[-1].voltage_v == machine.base.voltage_v
    found = run_system(eco, step, machine, loaded)
    tried = [run_system(eco, step, machine, loaded, (policy,)) for policy in POLICIES]
    assert found.total.total_energy_j == min(run.total.total_energy_j for run in tried)
    boost = run_system(halo_system(loaded, step, machine, "boost"), step, machine, loaded)
    assert boost.time_s <= found.time_s


def test_eco_of_one_voltage_says_what_would_do() -> None:
    sentence = (
        r"^a V-f curve needs at least 3 voltages of one process and temperature, and toy has 1; mode eco needs such "
        r"a curve; use --mode boost or --profile sky130hd-digitsdadda_ks\+lone-mul-abc$"
    )
    with pytest.raises(InfeasibleError, match=sentence):
        halo_system(LOADED, decode(SHAPE, 64), read_systolic("edge_lpddr5x"), "eco")
    assert len(vf_curve(find_profile(ECO_PROFILE)).voltage_v) >= 3


def test_what_a_packed_model_leaves_in_floating_point_is_left_so_in_its_rivals() -> None:
    """A head in 16 bits for us and in 8 bits for them would be no comparison."""
    step, machine = decode(SHAPE, 64), read_systolic("edge_lpddr5x")
    drawn = halo_system(LOADED, step, machine, "boost").layer_tiles
    packed = replace(LOADED, tiles={name: tiles for name, tiles in drawn.items() if name != "lm_head"})
    assert packed.left_floating(step) == ("lm_head",) and LOADED.left_floating(step) == ()
    for rival, whole in zip(rival_systems(packed, step, machine), rival_systems(LOADED, step, machine), strict=True):
        assert "lm_head" not in rival.layer_tiles and rival.name == whole.name
        assert set(whole.layer_tiles) - set(rival.layer_tiles) == ({"lm_head"} if whole.layer_tiles else set())
    # a graphics processor reads the bits that are stored, and the head in 16: twice as many take longer in decode
    fat = {name: replace(t, bits=replace(t.bits, codes=2 * t.bits.codes)) for name, t in packed.tiles.items()}
    board = read_gpu("gpu_2080ti")
    light, heavy = (gpu_runs(replace(packed, tiles=tiles), step, board)[-1].cost for tiles in (packed.tiles, fat))
    more_bytes = sum(t.bits.codes for t in packed.tiles.values()) / 8
    assert heavy.dram_s - light.dram_s == near(more_bytes / board.dram.stream_b_per_s)
    whole = gpu_runs(LOADED, step, board)[0].cost  # FP16, with and without
    assert gpu_runs(packed, step, board)[0].cost == whole
    assert gpu_runs(packed, step, board)[3].cost.dram_s > gpu_runs(LOADED, step, board)[3].cost.dram_s  # W8A8
    plain, halo = compare_elements(packed, step, machine)[:2]
    assert plain.bops < compare_elements(LOADED, step, machine)[0].bops and halo.bops < plain.bops
