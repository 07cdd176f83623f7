"""Claims, sweeps, deadlines and a graphics processor for a tiny shape and a made-up multiplier."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from haloquant.accel.workload.model_shapes import ModelShape
from haloquant.accel.workload.prefill_decode import decode, prefill
from haloquant.dvfs.alpha_power_law import alpha_power_delay, vf_curve
from haloquant.dvfs.classes import Classes
from haloquant.errors import InfeasibleError, InputError
from haloquant.jobs.machines.element_comparison import compare_elements
from haloquant.jobs.machines.method_cost import POLICIES
from haloquant.jobs.machines.supply_law import choose_supply_law
from haloquant.jobs.machines.sweeps import bandwidth_clock_map, deadline_runs, gpu_runs, paper_claims, sweep_systems
from haloquant.jobs.machines.systems import ECO_PROFILE, QuantizedModel, halo_system, rival_systems, run_system
from haloquant.records import Corner
from haloquant.store.profiles import find_profile
from haloquant.store.targets import read_gpu, read_systolic
from support.accel_cases import BASE, toy_codebooks, toy_profile
from support.near import near

SHAPE = ModelShape("tiny", "llama", 256, 640, 1, 4, 2, 1000)
BOOKS = tuple(replace(book, point=replace(book.point, voltage_v=1.0)) for book in toy_codebooks()[::-1])
LOADED = QuantizedModel("tiny", SHAPE, Classes(toy_profile(), 0, BOOKS), None, 0.81)


def test_claims_stand_side_by_side() -> None:
    found = paper_claims(LOADED, read_systolic("paper_tpu"), read_systolic("edge_lpddr5x"), 256, 256, 1)
    assert [(c.described.phase, c.described.rival.split()[0]) for c in found] == [
        (phase, rival) for phase in ("prefill", "decode") for rival in ("FP16", "W8A8", "W4A8", "W3A8")
    ]
    by = {(c.described.phase, c.described.rival.split()[0]): c for c in found}
    # the paper's premises: the same gain in both passes, none of it from bits
    assert by["prefill", "W8A8"].paper.speedup == near(by["decode", "W8A8"].paper.speedup, rel=0.1)
    assert by["decode", "W8A8"].paper.speedup == near(by["decode", "W4A8"].paper.speedup)
    # a machine with memory: decode gains what bits give, so hardly anything against four bits
    assert by["decode", "W4A8"].described.speedup < 1.2 < by["decode", "W8A8"].described.speedup


@pytest.mark.parametrize("over", ["transition", "static", "bandwidth"])
def test_sweeps_move_what_they_should(over: str) -> None:
    machine = read_systolic("edge_lpddr5x")
    found = sweep_systems(LOADED, decode(SHAPE, 64), machine, over)
    ours = [item.point for item in found if item.system.startswith("HALO")]
    rival_systems = [item.point for item in found if item.system == "W8A8"]
    values = [point.value for point in ours]
    assert values == sorted(values) and len(ours) == len(rival_systems) >= 4
    times = [point.simulation.time_s for point in ours]
    energies = [point.simulation.total.total_energy_j for point in ours]
    if over == "transition":
        assert times == sorted(times)
        assert len({point.simulation.time_s for point in rival_systems}) == 1  # one class switches nothing
    elif over == "static":
        assert len(set(times)) == 1 and energies == sorted(energies)
    else:
        assert times == sorted(times, reverse=True)


def test_a_sweep_over_something_else_is_refused() -> None:
    with pytest.raises(InputError, match=r"^a sweep must be over transition, static or bandwidth, not 'colour'.$"):
        sweep_systems(LOADED, decode(SHAPE, 64), read_systolic("edge_lpddr5x"), "colour")


def _at_three_voltages() -> QuantizedModel:
    """The same model on a multiplier that was measured at 1.0, 0.8 and 0.6 V and follows the alpha-power law."""
    law, toy, volts = alpha_power_delay(0.35, 1.3, 1.0), toy_profile(), (1.0, 0.8, 0.6)
    delay = np.concatenate([toy.delay_s * law(v) for v in volts])
    energy = np.concatenate([toy.energy_j * v**2 for v in volts])
    corners = tuple(Corner(f"{v:g} V", v, 25.0) for v in volts)
    measured = replace(
        toy, corners=corners, delay_s=delay, sensitised_delay_s=delay, energy_j=energy, leakage_w=np.zeros(3)
    )
    return QuantizedModel("tiny", SHAPE, Classes(measured, 0, BOOKS), None, 0.81)


@pytest.mark.parametrize("name", ["edge_lpddr5x", "tpuv4i_like"])
def test_eco_keeps_the_clock_and_takes_the_order_that_draws_least(name: str) -> None:
    loaded, machine, step = _at_three_voltages(), read_systolic(name), prefill(SHAPE, 256)
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
        r"^a V-f curve needs at least 3 voltages of one process and temperature, and toy has 1; eco lowers the supply "
        r"by such a curve, so --mode boost or --profile sky130hd-digitsdadda_ks\+lone-mul-abc would do$"
    )
    with pytest.raises(InfeasibleError, match=sentence):
        halo_system(LOADED, decode(SHAPE, 64), read_systolic("edge_lpddr5x"), "eco")
    assert len(vf_curve(find_profile(ECO_PROFILE)).voltage_v) >= 3


def test_a_deadline_spares_energy_or_says_the_least_possible() -> None:
    machine, step = read_systolic("edge_lpddr5x"), decode(SHAPE, 64)
    found = deadline_runs(LOADED, step, machine, 1.0, 0.0)
    assert found.least_energy.energy_j < found.race_to_idle.energy_j and found.supply_factor < 1
    assert found.law == (
        "ASSUMED, not measured: alpha-power law with a threshold of 0.35 V and an exponent of 1.3, down to 60% of the "
        "base supply; a V-f curve needs at least 3 voltages of one process and temperature, and toy has 1"
    )
    assert [factor for factor, _ in found.candidates][::16] == [1.0, 0.6]
    assert found.race_to_idle.simulation.time_s <= found.least_energy.simulation.time_s <= 1.0
    least = found.race_to_idle.simulation.time_s
    hurried = deadline_runs(LOADED, step, machine, least * 1.000001, 0.0)
    assert hurried.least_energy.simulation.time_s <= least * 1.000001
    with pytest.raises(
        InfeasibleError, match=r"^deadline must be at least .*s, the fastest this machine can do, not 1 ns"
    ):
        deadline_runs(LOADED, step, machine, 1e-9, 0.0)


def test_a_deadline_uses_the_measured_curve_where_there_is_one() -> None:
    """Delays that follow a law by construction: the fit gives them back, scaled to the machine's own volts."""
    volts, threshold, alpha = (1.2, 1.4, 1.6, 1.8), 0.7, 1.5
    toy = toy_profile()
    slower = np.array([v / (v - threshold) ** alpha for v in volts]) / (1.8 / 1.1**alpha)
    corners = tuple(Corner(f"tt{v}", v, 25.0) for v in volts)
    delay = slower[:, None] * toy.delay_s
    profile = replace(
        toy, corners=corners, delay_s=delay, sensitised_delay_s=delay, energy_j=np.repeat(toy.energy_j, 4, axis=0),
        leakage_w=np.zeros(4),
    )  # fmt: skip
    machine, step = read_systolic("edge_lpddr5x"), decode(SHAPE, 64)
    law = choose_supply_law(profile, machine)
    assert law.source.startswith(
        "measured: fitted to 4 voltages of profile toy (1.2 to 1.8 V, tt, 25 °C, worst error 0.0%)"
    )
    assert law.lowest_v == near(1.2 / 1.8 * machine.base.voltage_v)
    for factor, wanted in zip((v / 1.8 for v in volts), slower, strict=True):
        assert law.delay(factor * machine.base.voltage_v) == near(wanted, rel=1e-3)
    loaded = replace(LOADED, classes=Classes(profile, 3, BOOKS))
    found = deadline_runs(loaded, step, machine, 1.0, 0.0)
    assert found.law == law.source and found.candidates[-1][0] == near(1.2 / 1.8)
    # nothing at the lowest supply runs faster than the curve allows
    fastest = max(segment.point.frequency_hz for segment in found.candidates[-1][1].segments)
    own = max(segment.point.frequency_hz for segment in found.candidates[0][1].segments)
    assert fastest == near(own / slower[0], rel=1e-3)


def test_the_map_has_the_machine_in_its_middle() -> None:
    machine, step = read_systolic("edge_lpddr5x"), decode(SHAPE, 64)
    cells = bandwidth_clock_map(LOADED, step, machine)
    assert len(cells) == 25 and [i for i, cell in enumerate(cells) if cell.own] == [12]
    assert cells[12].base_frequency_hz == machine.base.frequency_hz
    time_s = {(c.bandwidth_b_per_s, c.base_frequency_hz): c.time_s for c in cells}
    for (bandwidth, clock), seconds in time_s.items():
        assert time_s.get((2 * bandwidth, clock), 0.0) <= seconds * (1 + 1e-9)
        assert time_s.get((bandwidth, 2 * clock), 0.0) <= seconds * (1 + 1e-9)
    slow = min(cells, key=lambda c: (-c.bandwidth_b_per_s, c.base_frequency_hz))
    starved = min(cells, key=lambda c: (c.bandwidth_b_per_s, -c.base_frequency_hz))
    assert (slow.bound, starved.bound) == ("compute", "dram")


@pytest.mark.parametrize("over", [sweep_systems, bandwidth_clock_map])
def test_a_bandwidth_without_a_limit_cannot_be_varied(over: Callable[..., object]) -> None:
    rest = ("bandwidth",) if over is sweep_systems else ()
    with pytest.raises(
        InputError, match=r"^a sweep over bandwidth must be of a machine with a limited one, not paper_"
    ):
        over(LOADED, decode(SHAPE, 64), read_systolic("paper_tpu"), *rest)


def test_other_elements_run_on_the_same_machine() -> None:
    rows = {row.element: row for row in compare_elements(LOADED, prefill(SHAPE, 64), read_systolic("tpuv4i_like"))}
    plain, halo, four = rows["W8A8 array"], rows["HALO on W8A8 array"], rows["W4A4 array"]
    assert rows["W4A8 shift-and-add"].bops < plain.bops and four.ebops < rows["W4A8 shift-and-add"].ebops
    # powers of two are one effective bit each: far below eight-bit integers
    assert halo.ebops < plain.ebops / 2
    assert plain.frequency_hz == read_systolic("tpuv4i_like").base.frequency_hz
    assert four.frequency_hz > plain.frequency_hz and four.energy_j < plain.energy_j
    serial = rows["W8A8 bit-serial"]
    assert (serial.cycles_per_mac, serial.bops) == (8, plain.bops) and serial.frequency_hz > four.frequency_hz


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


def test_a_graphics_processor_gains_from_bits_in_decode_and_from_rate_in_prefill() -> None:
    board = read_gpu("gpu_2080ti")
    step = {w.cost.format: w.cost.time_s for w in gpu_runs(LOADED, decode(SHAPE, 1), board) if w.speedup == 1.0}
    assert step["FP16"] > step["W8A8"] > step["W4A8"] > step["HALO"]
    read = {
        w.cost.format: w.cost for w in gpu_runs(LOADED, prefill(SHAPE, 4096), board) if w.cost.point == board.points[0]
    }
    assert read["W8A8"].time_s == near(read["HALO"].time_s, rel=0.05)
    assert BASE.frequency_hz > board.points[0].frequency_hz
