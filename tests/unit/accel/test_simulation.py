"""What a simulation refuses, what it says, and figures that can be worked out by hand."""

from dataclasses import replace

import numpy as np
import pytest

from haloquant.accel.chart_rows import stacked_bars, sweep_marks
from haloquant.accel.comparison import (
    compare_runs,
    run_system,
    runs_at_lower_supplies,
    sweep_bandwidth,
    sweep_static,
    sweep_transition,
)
from haloquant.accel.cost_model.layer_work import layer_works
from haloquant.accel.cost_model.memory_traffic import layer_traffic
from haloquant.accel.deadline import meet_deadline, race_to_idle
from haloquant.accel.rivals import (
    System,
    allowed_point,
    float_system,
    measured_system,
    uniform_system,
    uniform_values,
    value_tiles,
)
from haloquant.accel.roofline import roofline_points, roofs
from haloquant.accel.simulation import simulate
from haloquant.accel.workload.model_shapes import named_shape
from haloquant.accel.workload.passes import Workload, prefill
from haloquant.accel.workload.synthetic_tiles import ClassMix, gaussian_frequency, synthetic_tiles
from haloquant.dvfs.alpha_power_law import alpha_power_delay
from haloquant.dvfs.schedule import plan
from haloquant.dvfs.supply_modes import slowed_points
from haloquant.errors import InfeasibleError, InputError, ProfileError
from haloquant.records import BitCount, Codebook, Gemm, OperatingPoint, TileGrid
from haloquant.store.targets import read_systolic
from support.accel_cases import (
    BASE,
    FAST,
    MIDDLE,
    TOP,
    WEIGHTS,
    honest,
    random_tiles,
    tiny_workload,
    toy_codebooks,
    toy_profile,
    toy_target,
)
from support.near import near
from support.schedules import repoint

POINTS = (BASE, MIDDLE, TOP)


def _case(seed: int = 0):
    workload = tiny_workload()
    return workload, random_tiles(workload, seed)


def test_a_clock_that_a_value_does_not_meet_is_refused() -> None:
    workload, tiles = _case()
    tiles = {name: replace(t, classes=np.full_like(t.classes, 2)) for name, t in tiles.items()}
    schedule = plan(workload.gemms, tiles, POINTS, BASE)
    same_volts = repoint(schedule, {TOP: OperatingPoint(1.0, 3.7e9)})
    sentence = (
        r"^operating point of tile \(\d, \d\) of 0.q must be at most 1.9 GHz at 1 V, which its slowest weight value "
        r"meets, not 3.7 GHz.$"
    )
    with pytest.raises(InputError, match=sentence):
        simulate(workload, tiles, same_volts, honest(toy_target()), toy_profile())
    with pytest.raises(InputError, match=r"at 1.2 V, which its slowest weight value meets, not 3.7 GHz"):
        simulate(
            workload, tiles, schedule, honest(toy_target()), toy_profile(), delay_at=lambda _: toy_profile().delay_s[0]
        )


def test_a_layer_that_runs_whole_is_held_to_its_values_too() -> None:
    workload, tiles = _case()
    schedule = plan(workload.gemms, tiles, [OperatingPoint(1.0, 3.7e9)] * 3, BASE, "none")
    whole = tuple(replace(phase, runs=(), whole=tuple({run.layer for run in phase.runs})) for phase in schedule.phases)
    with pytest.raises(InputError, match=r"which its slowest weight value meets, not 3.7 GHz.$"):
        simulate(workload, tiles, replace(schedule, phases=whole), honest(toy_target()), toy_profile())


def test_what_cannot_be_checked_is_said() -> None:
    workload, tiles = _case()
    schedule = plan(workload.gemms, tiles, POINTS, BASE)
    claim = simulate(workload, tiles, schedule, toy_target(), toy_profile())
    assert claim.notes[-1] == "3.7 GHz at 1.2 V on toy was not checked against profile toy: its clocks are a claim"
    own = simulate(workload, tiles, schedule, honest(toy_target()), toy_profile())
    assert [note.split(" on ")[0] for note in own.notes] == ["2.4 GHz at 1.1 V", "3.7 GHz at 1.2 V"]
    assert own.notes[0].endswith("nobody gave the delays at that supply")


def test_a_machine_at_the_profile_s_own_points_is_checked_at_its_corner() -> None:
    workload, tiles = _case()
    points = tuple(OperatingPoint(0.7, book.point.frequency_hz) for book in toy_codebooks())
    array = replace(toy_target().array, claimed_clocks=False, profile_voltage_v=0.7)
    machine = replace(toy_target(), points=points, array=array)
    schedule = plan(workload.gemms, tiles, points, machine.base)
    run = simulate(workload, tiles, schedule, machine, toy_profile(0.7))
    assert run.notes == ()
    assert machine.energy_voltage_v == 0.7 and machine.base.frequency_hz == 1.9e9
    faster = repoint(schedule, {points[2]: OperatingPoint(0.7, 4e9)})
    with pytest.raises(InputError, match=r"must be at most 3.7 GHz at 0.7 V"):
        simulate(workload, tiles, faster, machine, toy_profile(0.7))


def test_schedules_that_do_not_cover_the_workload_are_refused() -> None:
    workload, tiles = _case()
    schedule = plan(workload.gemms, tiles, POINTS, BASE)
    target, profile = toy_target(), toy_profile()
    first = schedule.phases[0]
    with pytest.raises(InputError, match=r"^every tile of 0.\w must run exactly once, not 0 times \(tile \d, \d\).$"):
        simulate(workload, tiles, replace(schedule, phases=schedule.phases[1:]), target, profile)
    twice = replace(schedule, phases=(first, *schedule.phases))
    with pytest.raises(InputError, match=r"^every tile of 0.\w must run exactly once, not 2 times \(tile \d, \d\).$"):
        simulate(workload, tiles, twice, target, profile)
    with pytest.raises(InputError, match=r"^schedule must be of workload tiny prefill with its 6 products in order"):
        simulate(workload, tiles, replace(schedule, layers=schedule.layers[:-1]), target, profile)
    less = {name: t for name, t in tiles.items() if name != "1.o"}
    with pytest.raises(
        InputError, match=r"^1.o must run whole, for it has no tile map; the schedule lists tiles of it.$"
    ):
        simulate(workload, less, schedule, target, profile)
    run = first.runs[0]
    outside = replace(first, runs=(replace(run, places=run.places + np.array([90, 0], np.int32)), *first.runs[1:]))
    with pytest.raises(InputError, match=r"^tiles of 0.\w must lie within \d x 3 \(down x across\).$"):
        simulate(workload, tiles, replace(schedule, phases=(outside, *schedule.phases[1:])), target, profile)
    late = replace(first, group=5)
    with pytest.raises(InputError, match=r"^tiles of 0.\w must run in its dependency group, 0.$"):
        simulate(workload, tiles, replace(schedule, phases=(late, *schedule.phases[1:])), target, profile)


def test_tiles_of_another_array_and_unknown_values_are_refused() -> None:
    workload, tiles = _case()
    schedule = plan(workload.gemms, tiles, POINTS, BASE)
    with pytest.raises(
        InputError, match=r"^tiles of 0.q must be 16 x 8 \(out x in\) as the array of toy is, not 8 x 8.$"
    ):
        simulate(workload, tiles, schedule, toy_target(8, 16), toy_profile())
    some = {name: replace(t, values=(t.values + 1).astype(np.int16)) for name, t in tiles.items()}
    with pytest.raises(ProfileError, match=r"^weight values of 0.q must be among the 256 of profile toy .*, not 128$"):
        simulate(workload, some, schedule, toy_target(), toy_profile())
    blank = replace(toy_profile(), energy_j=np.where(WEIGHTS == 64, np.nan, toy_profile().energy_j))
    with pytest.raises(ProfileError, match=r"^energy of weight value 64 must be known to profile toy, not NaN; char"):
        simulate(workload, tiles, schedule, toy_target(), blank)
    with pytest.raises(InputError, match=r"^corner must be 0 to 0 for profile toy, not 3.$"):
        simulate(workload, tiles, schedule, toy_target(), toy_profile(), corner=3)
    with pytest.raises(InputError, match=r"^cycles_per_mac must be above 0, not 0.$"):
        simulate(workload, tiles, schedule, toy_target(), toy_profile(), cycles_per_mac=0.0)


@pytest.mark.parametrize(("name", "value"), [("m", 0), ("k", -3), ("n", 0), ("count", -1)])
def test_sizes_that_are_not_positive_are_refused(name: str, value: int) -> None:
    gemm = replace(Gemm("x", 1, 8, 8, 0), **{name: value})
    workload = Workload("bad", "decode", (gemm,), 1, 1, 1)
    with pytest.raises(InputError, match=f"^{name} of x must be at least 1, not {value}.$"):
        simulate(workload, {}, plan(workload.gemms, {}, (), BASE), toy_target(), toy_profile())


def test_rows_of_a_group_must_be_equal() -> None:
    workload = Workload("bad", "decode", (Gemm("x", 1, 8, 8, 0), Gemm("y", 2, 8, 8, 0)), 1, 1, 1)
    with pytest.raises(InputError, match=r"^layers of one dependency group must have equal rows, not 1 and 2 \(y\).$"):
        simulate(workload, {}, plan(workload.gemms, {}, (), BASE), toy_target(), toy_profile())


def test_one_layer_by_hand() -> None:
    """One full tile of the value 64 on an 8 x 8 array, 3 rows, everything worked out on paper."""
    gemm = Gemm("x", 3, 8, 8, 0)
    workload = Workload("one", "decode", (gemm,), 3, 1, 1)
    grid = TileGrid(8, 8, 8, 8)
    tiles = {"x": value_tiles("x", np.full((8, 8), 64, np.int16), grid, BitCount(64, codes=256), nnz=2)}
    machine = replace(toy_target(), transition=replace(toy_target().transition, latency_s=0.0))
    run = simulate(workload, tiles, plan(workload.gemms, tiles, (TOP,), BASE), machine, toy_profile())
    assert run.total.cycles == 8 + 3 + 14
    # 32 bytes of weights at 18 GB/s take 1.78 ns, the array 17 cycles of 3.7 GHz: 4.59 ns
    assert run.total.time_s["compute"] == near(17 / 3.7e9)
    assert run.total.time_s["fill"] == near(8 / 3.7e9 + 50e-9 + 32 / 18e9)
    assert run.layers[0].bound == "compute" and run.dram_bytes == 32
    energy = 35e-15  # 64 has one set bit: 20 + 15 fJ
    assert run.total.energy_j["mac"] == near(64 * 3 * energy * 1.44)
    assert run.total.energy_j["spmv"] == near(2 * 3 * (20e-15 + 4 * 15e-15))  # mean of all values: 4 bits
    assert run.total.energy_j["dram"] == near(32 * 8 * 4e-12)
    # 24 bytes in, 6 gathered, 32 of weights read; 24 out and 32 in written
    assert run.total.energy_j["sram"] == near(8 * (62 * 0.25e-12 + 56 * 0.3e-12))
    assert run.total.energy_j["accumulator"] == near(3 * 8 * 32 * 0.5e-12 * 1.44)
    busy = 17 / 3.7e9 + run.total.time_s["fill"]
    assert run.total.energy_j["leakage"] == near(busy * (0.01 * 1.2 + 0.005))
    assert run.total.energy_j["dvfs"] == 0


def test_rivals_get_the_clock_their_values_allow() -> None:
    books, profile = toy_codebooks(), toy_profile()
    assert allowed_point(profile, 0, FAST.tolist(), books, BASE)[0] == TOP
    assert allowed_point(profile, 0, [0, 16, -48], books, BASE)[0] == MIDDLE
    point, why = allowed_point(profile, 0, [0, 3], books, BASE)
    assert (point, why) == (BASE, "its values are slower than those of every faster class")
    with pytest.raises(ProfileError, match=r"^the weight values must be among the 256 of profile toy .*, not 200$"):
        allowed_point(profile, 0, [200], books, BASE)


def test_a_four_bit_rival_is_placed_where_the_multiplier_likes_it() -> None:
    workload = tiny_workload()
    four = uniform_system(workload, (8, 8), 4, toy_profile(), 0, toy_codebooks(), BASE)
    assert four.name == "W4A8 (x16)" and four.points[0] == MIDDLE
    assert four.why == "its values are no slower than those of class slow"
    eight = uniform_system(workload, (8, 8), 8, toy_profile(), 0, toy_codebooks(), BASE)
    assert eight.name == "W8A8" and eight.points[0] == BASE
    three = uniform_system(workload, (8, 8), 3, toy_profile(), 0, toy_codebooks(), BASE)
    assert three.points[0] == MIDDLE
    # a fourth of the bits, and of the time where memory is the limit
    with pytest.raises(InputError, match=r"^bits of a uniform grid must be 2 to 8, not 9.$"):
        uniform_values(9)
    with pytest.raises(InputError, match=r"^shift of a 4-bit grid must be 0 to 4 places, not 5.$"):
        uniform_values(4, 5)


def test_a_rival_s_real_values_are_counted() -> None:
    rng = np.random.default_rng(0)
    values = rng.integers(-7, 8, (13, 20)).astype(np.int16)
    grid = TileGrid(13, 20, 8, 8)
    tiles = value_tiles("x", values, grid, BitCount(260, codes=1040))
    for d in range(2):
        for a in range(3):
            block = np.zeros((8, 8), np.int16)
            part = values[d * 8 : d * 8 + 8, a * 8 : a * 8 + 8]
            block[: part.shape[0], : part.shape[1]] = part
            assert tiles.histogram[d, a].tolist() == [int((block == v).sum()) for v in tiles.values]
    system = measured_system("GPTQ", {"x": tiles}, toy_profile(), 0, toy_codebooks(), BASE)
    assert system.points == (BASE,)
    with pytest.raises(InputError, match=r"^values of x must be 13 x 20 \(out x in\), not 20 x 13.$"):
        value_tiles("x", values.T, grid, BitCount(260))


def test_comparison_and_sweeps_are_plain_records() -> None:
    workload = tiny_workload()
    target, profile = toy_target(), toy_profile()
    eight = uniform_system(workload, (8, 8), 8, profile, 0, toy_codebooks(), BASE)
    four = uniform_system(workload, (8, 8), 4, profile, 0, toy_codebooks(), BASE)
    runs = {s.name: run_system(s, workload, target, profile, plan) for s in (eight, four, float_system())}
    rows = compare_runs(runs["W4A8 (x16)"], [(eight, runs["W8A8"]), (float_system(), runs["FP16"])])
    assert [row.rival for row in rows] == ["W8A8", "FP16"]
    assert rows[1].speedup == near(runs["FP16"].time_s / runs["W4A8 (x16)"].time_s)
    assert rows[1].speedup > rows[0].speedup > 1 and rows[1].energy_ratio > 1

    def again(machine):
        return run_system(four, workload, machine, profile, plan)

    lines = sweep_marks(
        [*sweep_transition(again, target), *sweep_static(again, target), *sweep_bandwidth(again, target, [1e9])]
    )
    assert [mark.swept for mark in lines] == ["transition"] * 5 + ["static power per array"] * 4 + ["bandwidth"]
    bars = stacked_bars(list(runs.values()))
    total = sum(bar.value for bar in bars if bar.system == "FP16" and bar.quantity == "energy_j")
    assert total == near(runs["FP16"].total.total_energy_j)
    made = roofline_points(runs["W8A8"])
    assert made[-1].name == "whole pass" and len(made) == 7
    roof = max(roofs(target), key=lambda r: r.macs_per_s)
    assert all(dot.macs_per_s <= roof.attainable_macs_per_s(dot.macs_per_b) * (1 + 1e-9) for dot in made)
    assert roof.ridge_macs_per_b == near(64 * 3.7e9 / 18e9)


def test_a_deadline_is_met_with_the_least_energy() -> None:
    workload, tiles = _case()
    schedule = plan(workload.gemms, tiles, POINTS, BASE)
    runs = []
    for factor in (1.0, 0.8, 0.5):  # a lower supply: slower, less switching energy
        slower = {p: OperatingPoint(p.voltage_v * (0.5 + factor / 2), p.frequency_hz * factor) for p in POINTS}
        runs.append(simulate(workload, tiles, repoint(schedule, slower), toy_target(), toy_profile()))
    times = [run.time_s for run in runs]
    assert times == sorted(times)
    race = race_to_idle(runs[0], 2 * times[0], 0.001)
    assert race.idle_j == near(0.001 * times[0])
    assert meet_deadline(runs, times[0], 0.001).simulation is runs[0]
    best = meet_deadline(runs, 10 * times[-1], 0.0)
    assert best.energy_j == min(run.total.total_energy_j for run in runs)
    with pytest.raises(InfeasibleError, match=r"^deadline must be at least [\d.]+ ns, the fastest this .* not 1 ns.$"):
        meet_deadline(runs, 1e-9, 0.0)
    with pytest.raises(InfeasibleError, match=r"^deadline must be at least "):
        race_to_idle(runs[0], 1e-9, 0.0)
    with pytest.raises(InputError, match=r"^deadline must be above 0 s, not -1 s.$"):
        meet_deadline(runs, -1.0, 0.0)
    with pytest.raises(InputError, match=r"^idle power must be at least 0 W, not -1 W.$"):
        meet_deadline(runs, 1.0, -1.0)
    with pytest.raises(InputError, match=r"^candidates of a deadline must be at least one simulation, not none.$"):
        meet_deadline([], 1.0, 0.0)


def test_lower_supplies_are_candidates_for_a_deadline() -> None:
    workload, tiles = _case()
    curve = alpha_power_delay(0.35, 1.3, 1.0)
    system = System("HALO", tiles, POINTS, 8, "")
    runs = runs_at_lower_supplies(
        system, workload, toy_target(), toy_profile(), plan, lambda p, f: slowed_points(p, curve, f), [1.0, 0.9, 0.7]
    )
    times = [run.time_s for run in runs]
    assert times == sorted(times) and times[2] > times[0]
    macs = [run.total.energy_j["mac"] for run in runs]
    assert macs[1] / macs[0] == near(0.81) and macs[2] / macs[0] == near(0.49)
    # with time to spare and free idling the lowest supply wins; in a hurry only the highest is left
    assert meet_deadline(runs, 2 * times[2], 0.0).simulation.total.energy_j["mac"] == macs[2]
    assert meet_deadline(runs, 1.0001 * times[0], 0.0).simulation is runs[0]


def test_synthetic_tiles_meet_their_shares() -> None:
    values = np.array([-4, 0, 4], np.int16)
    mix = [ClassMix(0.25, values, np.array([0.25, 0.5, 0.25])), ClassMix(0.75, FAST, gaussian_frequency(FAST))]
    tiles = synthetic_tiles("x", TileGrid(30, 16, 8, 8), mix)
    assert np.bincount(tiles.classes.ravel()).tolist() == [2, 6]
    assert set(tiles.histogram.sum(axis=2).ravel().tolist()) == {64}
    full = tiles.histogram[0, 0] if tiles.classes[0, 0] == 0 else None
    counts = {int(v): int(tiles.histogram[tiles.classes == 0][0][i]) for i, v in enumerate(tiles.values)}
    assert full is None or counts[-4] == counts[4] == 16
    # the last row of tiles holds 6 of 8 outputs: 16 cells of padding count as 0
    assert tiles.histogram[3, 0][tiles.values == 0] >= 16
    assert gaussian_frequency(values, 1e9).tolist() == near([0.5, 0.0, 0.5], abs=1e-6)
    with pytest.raises(InputError, match=r"^shares of tile classes must be at least 0 and sum to 1, not \[0.25\].$"):
        synthetic_tiles("x", TileGrid(8, 8, 8, 8), mix[:1])
    with pytest.raises(InputError, match=r"^out_features of x must be at least 1, not 0.$"):
        synthetic_tiles("x", TileGrid(0, 8, 8, 8), mix)
    with pytest.raises(InputError, match=r"^values of a class must be ascending without repeats.$"):
        gaussian_frequency(np.array([1, 1], np.int16))
    with pytest.raises(InputError, match=r"^frequencies of a tile class of x must be one per value, at least 0"):
        synthetic_tiles("x", TileGrid(8, 8, 8, 8), [ClassMix(1.0, values, np.array([-1.0, 1.0, 1.0]))])


def test_a_codebook_of_the_profile_is_its_own_limit() -> None:
    book = Codebook("fast", FAST, TOP, 0.0)
    assert allowed_point(toy_profile(), 0, book.values.tolist(), [book], BASE)[1].endswith("class fast")


@pytest.mark.parametrize("kv_bits", [8, 16])
def test_scores_stay_on_the_chip_where_a_head_s_keys_fit(kv_bits: int) -> None:
    """Half of edge_lpddr5x's 8 MiB holds the keys of a head of 128 for 8192 tokens in 8 and in 16 bits.

    By hand for LLaMA-2-7B, 32 heads: keys, values, queries and results are 4096 x tokens numbers each. Keys and values
    are written to the cache and read back once; queries or results pass once; scores are not among them.
    """
    machine, shape = read_systolic("edge_lpddr5x"), named_shape("llama2-7b")
    for tokens in (2048, 8192, 65_536):
        work = prefill(shape, tokens)
        for made in layer_works(work, {}, machine, toy_profile(), 0, kv_bits, 1.0)[3:5]:
            dram = layer_traffic(made, work, machine, 1).dram
            bare = 3 * 4096 * tokens * kv_bits // 8
            assert dram == bare if tokens <= 8192 else dram > bare + 32 * tokens**2
