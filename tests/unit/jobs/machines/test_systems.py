"""HALO and its rivals as systems of one machine: boost, eco, and layers left in floating point."""

from dataclasses import replace

import pytest

from haloquant.accel.workload.prefill_decode import decode, prefill
from haloquant.jobs.machines.element_comparison import compare_elements
from haloquant.jobs.machines.method_cost import POLICIES
from haloquant.jobs.machines.supply_law import choose_supply_law
from haloquant.jobs.machines.sweeps import gpu_runs
from haloquant.jobs.machines.systems import at_lower_supplies, halo_system, rival_systems, run_system
from haloquant.records import OperatingPoint
from haloquant.records.layer_names import HEAD
from haloquant.store.targets import read_gpu, read_systolic
from support.machine_models import LOADED, SHAPE, at_three_voltages
from support.near import near


@pytest.mark.parametrize("name", ["edge_lpddr5x", "tpuv4i_like"])
def test_eco_keeps_the_clock_and_takes_the_order_that_draws_least(name: str) -> None:
    loaded, machine, step = at_three_voltages(), read_systolic(name), prefill(SHAPE, 256)
    law = choose_supply_law(loaded.classes.profile, machine)
    eco = at_lower_supplies(halo_system(loaded, step, machine), machine, law, machine.base)
    assert [point.frequency_hz for point in eco.points] == [machine.base.frequency_hz] * 3
    assert eco.points[0].voltage_v < eco.points[-1].voltage_v == machine.base.voltage_v
    found = run_system(eco, step, machine, loaded)
    tried = [run_system(eco, step, machine, loaded, (policy,)) for policy in POLICIES]
    assert found.total.total_energy_j == min(run.total.total_energy_j for run in tried)
    boost = run_system(halo_system(loaded, step, machine), step, machine, loaded)
    assert boost.time_s <= found.time_s


def test_every_system_may_lower_its_supply_and_a_slower_clock_keeps_its_own() -> None:
    """Delay is assumed as V / (V - 0.35)**1.3; steps are 25 mV from 60 % of the base supply up."""
    machine, step = read_systolic("edge_lpddr5x"), decode(SHAPE, 64)
    law = choose_supply_law(LOADED.classes.profile, machine)
    systems = [*rival_systems(LOADED, step, machine), halo_system(LOADED, step, machine)]
    for boosted in systems:
        eco = at_lower_supplies(boosted, machine, law, machine.base)
        assert eco.name.endswith(" (eco)")
        for fast, low in zip(boosted.points, eco.points, strict=True):
            slack = fast.frequency_hz / machine.base.frequency_hz
            stretch = low.voltage_v / (low.voltage_v - 0.35) ** 1.3 * 0.65**1.3
            below = low.voltage_v - 0.025
            assert stretch <= slack * (1 + 1e-9)
            assert below < 0.6 or below / (below - 0.35) ** 1.3 * 0.65**1.3 > slack
    slow = replace(systems[-1], points=(OperatingPoint(1.0, 0.5 * machine.base.frequency_hz),))
    assert at_lower_supplies(slow, machine, law, machine.base).points == slow.points


def test_attention_and_floating_point_spend_the_slack_of_all_values() -> None:
    """If all values meet twice the base clock, V / (V - 0.35)**1.3 may double; else nothing may be lower."""
    machine, step = read_systolic("edge_lpddr5x"), prefill(SHAPE, 256)
    law = choose_supply_law(LOADED.classes.profile, machine)
    quick = replace(machine.base, frequency_hz=2 * machine.base.frequency_hz)
    for system in rival_systems(LOADED, step, machine)[:2]:
        full, low = (at_lower_supplies(system, machine, law, point) for point in (machine.base, quick))
        assert full.untiled == machine.base
        assert low.untiled and low.untiled.frequency_hz == machine.base.frequency_hz
        volts = low.untiled.voltage_v
        below = volts - 0.025
        assert volts / (volts - 0.35) ** 1.3 * 0.65**1.3 <= 2 < below / (below - 0.35) ** 1.3 * 0.65**1.3
        # Layers without tiles scale with the square of their supply; those with tiles keep theirs.
        least = replace(low, points=full.points)
        runs = [run_system(each, step, machine, LOADED, (POLICIES[0],), 0.5) for each in (full, least)]
        for before, after in zip(*(run.layers for run in runs), strict=True):
            ratio = 1.0 if before.layer in system.layer_tiles else volts**2
            assert after.cost.energy_j["mac"] == near(ratio * before.cost.energy_j["mac"])


def test_what_a_packed_model_leaves_in_floating_point_is_left_so_in_its_rivals() -> None:
    """A head in 16 bits for us and in 8 bits for them would be no comparison."""
    step, machine = decode(SHAPE, 64), read_systolic("edge_lpddr5x")
    drawn = halo_system(LOADED, step, machine).layer_tiles
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


def test_an_asked_density_is_that_of_all_layers_but_the_head_and_else_each_keeps_its_own() -> None:
    step, machine = decode(SHAPE, 64), read_systolic("edge_lpddr5x")
    asked = replace(LOADED, density=0.5)
    for system in (halo_system(asked, step, machine), *rival_systems(asked, step, machine)[1:]):
        assert {name == HEAD: part.input_density for name, part in system.layer_tiles.items()} == {
            False: 0.5,
            True: 1.0,
        }
    tiles = halo_system(asked, step, machine).layer_tiles
    assert LOADED.with_density(tiles) == tiles
    first = next(iter(tiles))
    assert replace(LOADED, densities={first: 0.25}).with_density(tiles)[first].input_density == 0.25
