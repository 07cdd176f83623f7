"""Workloads, graphics processors, other elements, bit operations, and the files a simulation is written as."""

import csv
import io
import json
from itertools import pairwise

import numpy as np
import pytest

from haloquant.accel import bit_operations, processing_elements
from haloquant.accel.gpu_roofline import FLOAT16, W4A8, W8A8, GpuFormat, gpu_pass, what_if
from haloquant.accel.rivals import value_tiles
from haloquant.accel.simulation import simulate
from haloquant.accel.timeline.events import timeline
from haloquant.accel.workload.model_shapes import MODELS, ModelShape, named_shape, shape_from_config
from haloquant.accel.workload.passes import decode, prefill
from haloquant.dvfs.schedule import plan
from haloquant.errors import FormatError, InputError
from haloquant.records import BitCount, TileGrid
from haloquant.store.simulation_files import layers_csv, read_simulation, simulation_json, trace_json
from haloquant.store.targets import read_gpu
from support.accel_cases import BASE, MIDDLE, TOP, random_tiles, tiny_workload, toy_profile, toy_target
from support.near import near

# --- shapes and workloads --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "billions"),
    [
        ("llama2-7b", 6.607),  # 6.738 less the embedding
        ("llama2-13b", 12.852),
        ("llama2-70b", 68.714),
        ("opt-1.3b", 1.311),  # 24 layers of 12 x 2048^2, and the head that is tied to the embedding
        ("opt-30b", 29.956),
    ],
)
def test_linear_weights_of_published_models(name: str, billions: float) -> None:
    assert named_shape(name).linear_weights / 1e9 == near(billions, abs=1e-3)


def test_all_named_models_are_there() -> None:
    assert set(MODELS) >= {f"llama2-{n}b" for n in (7, 13, 70)} | {
        f"opt-{n}b" for n in ("1.3", "2.7", "6.7", "13", "30")
    }


def test_decode_counts_attention_cache_and_head() -> None:
    shape = named_shape("llama2-70b")
    step = decode(shape, 1000, batch=3)
    per_layer = [g for g in step.gemms if g.layer.startswith("model.layers.0.")]
    assert [g.layer.rsplit(".", 1)[1] for g in per_layer] == [
        "q_proj", "k_proj", "v_proj", "scores", "values", "o_proj", "gate_proj", "up_proj", "down_proj",
    ]  # fmt: skip
    scores = per_layer[3]
    # 64 query heads share 8 key heads: 8 rows of one product per key head and sequence
    assert (scores.m, scores.k, scores.n, scores.count, scores.weight_stationary) == (8, 128, 1000, 24, False)
    assert step.macs == 3 * (shape.linear_weights + 80 * 2 * 64 * 128 * 1000)
    assert len({g.group for g in step.gemms}) == 80 * 6 + 1
    assert (step.tokens, step.phase) == (3, "decode")


def test_prefill_scores_one_row_per_prompt_unless_told() -> None:
    shape = named_shape("opt-1.3b")
    assert prefill(shape, 7, batch=2).gemms[-1].m == 2
    assert prefill(shape, 7, batch=2, head_rows=14).gemms[-1].m == 14
    assert [g.layer for g in prefill(shape, 7).gemms][4:8] == [
        "model.decoder.layers.0.self_attn.values",
        "model.decoder.layers.0.self_attn.out_proj",
        "model.decoder.layers.0.fc1",
        "model.decoder.layers.0.fc2",
    ]
    assert not any("scores" in g.layer for g in prefill(shape, 7, attention=False).gemms)


@pytest.mark.parametrize("name", ["tokens", "batch", "head_rows"])
def test_workload_sizes_must_be_positive(name: str) -> None:
    sizes = {"tokens": 1, "batch": 1, "head_rows": 1, name: 0}
    with pytest.raises(InputError, match=f"^{name} of a workload must be at least 1, not 0.$"):
        prefill(named_shape("opt-1.3b"), **sizes)
    with pytest.raises(InputError, match=r"^context of a workload must be at least 1, not -5.$"):
        decode(named_shape("opt-1.3b"), -5)


def test_shapes_from_a_config() -> None:
    llama = {
        "model_type": "llama", "hidden_size": 64, "intermediate_size": 172, "num_hidden_layers": 5,
        "num_attention_heads": 8, "num_key_value_heads": 4, "vocab_size": 512,
    }  # fmt: skip
    assert shape_from_config(llama, "tiny") == ModelShape("tiny", "llama", 64, 172, 5, 8, 4, 512)
    opt = {
        "model_type": "opt",
        "hidden_size": 64,
        "ffn_dim": 256,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "vocab_size": 9,
    }
    assert shape_from_config(opt).intermediate == 256
    with pytest.raises(InputError, match=r"^hidden_size of the model's config must be a whole number, not '64'.$"):
        shape_from_config({**llama, "hidden_size": "64"})
    with pytest.raises(
        InputError, match=r"^model_type of model must be opt or a gated decoder like llama, not 'bert'.$"
    ):
        shape_from_config({"model_type": "bert"})
    with pytest.raises(InputError, match=r"^layers of model x must be at least 1, not 0.$"):
        ModelShape("x", "llama", 64, 64, 0, 4, 4, 10)
    with pytest.raises(InputError, match=r"^heads of model x must be a multiple of its 3 key-value heads, not 4.$"):
        ModelShape("x", "llama", 64, 64, 1, 4, 3, 10)
    with pytest.raises(InputError, match=r"^hidden of model x must be a multiple of its 5 heads, not 64.$"):
        ModelShape("x", "llama", 64, 64, 1, 5, 5, 10)
    with pytest.raises(InputError, match=r"^model shape must be one of llama2-7b, .*, not 'gpt'.$"):
        named_shape("gpt")


# --- graphics processors ---------------------------------------------------------------------------------------------


def test_2080ti_decode_is_bits_over_bandwidth() -> None:
    # 6.607 G weights at 80 % of 616 GB/s: 26.8, 13.4 and 7.1 ms (hand arithmetic)
    board, step = read_gpu("gpu_2080ti"), decode(named_shape("llama2-7b"), 1, attention=False)
    four = GpuFormat("HALO", 4.25, 8, 8, "int8")
    times = [1e3 * gpu_pass(step, board, f).time_s for f in (FLOAT16, W8A8, four)]
    assert times == near([26.8, 13.4, 7.1], abs=0.06)
    assert gpu_pass(step, board, W8A8).bound == "dram"
    # HALO is any 4-bit format there, whatever the clock
    assert gpu_pass(step, board, four, board.points[-1]).time_s == near(gpu_pass(step, board, four).time_s)


def test_what_if_names_the_blocks_and_the_price_of_switching() -> None:
    board = read_gpu("gpu_2080ti")
    read = prefill(named_shape("llama2-7b"), 2048, attention=False, head_rows=2048)
    found = what_if(read, board, W8A8)
    assert [round(w.speedup, 2) for w in found] == [1.0, 1.33, 1.87]
    assert found[0].must_follow == () and {b.name for b in found[2].must_follow} >= {
        "register file",
        "shared memory and L1",
    }
    # a switch per dependency group at 10 ms each: longer than the pass itself
    assert found[2].switching_s == near(129 * 10e-3) and found[2].switching_s > found[2].cost.time_s
    # (1.1 / 0.9)^2 more per operation, less idling
    assert 1.0 < found[2].energy_ratio < (1.1 / 0.9) ** 2
    assert found[0].cost.energy_per_token_j == near(found[0].cost.energy_j / 2048)
    assert len(what_if(read, read_gpu("h200"), W4A8)) == 1
    with pytest.raises(InputError, match=r"^bits of format x must be above 0.$"):
        gpu_pass(read, board, GpuFormat("x", 0.0, 8, 8, "int8"))


def test_attention_and_layers_left_in_floating_point_cost_what_floating_point_costs() -> None:
    """Per operation twice the energy of 8-bit integers, which are twice as fast at the same power."""
    board, shape = read_gpu("gpu_2080ti"), named_shape("llama2-7b")
    read, bare = prefill(shape, 2048), prefill(shape, 2048, attention=False)
    attention = read.macs - bare.macs
    per_mac = (board.limit_w - board.idle_w) / board.float16_mac_per_s
    for kind in (FLOAT16, W8A8):
        with_it, without = gpu_pass(read, board, kind), gpu_pass(bare, board, kind)
        assert with_it.dynamic_j - without.dynamic_j == near(attention * per_mac)
    head = next(g for g in bare.gemms if g.layer == "lm_head")
    left, all_eight = gpu_pass(bare, board, W8A8, None, ["lm_head"]), gpu_pass(bare, board, W8A8)
    assert left.dynamic_j - all_eight.dynamic_j == near(head.m * head.k * head.n * per_mac / 2)
    everything = [gemm.layer for gemm in read.gemms]  # names of attention's products change nothing
    assert gpu_pass(read, board, W8A8, None, everything) == gpu_pass(
        read, board, W8A8, None, [gemm.layer for gemm in read.gemms if gemm.weight_stationary]
    )
    step = decode(shape, 1, attention=False)
    more = gpu_pass(step, board, W8A8, None, ["lm_head"]).time_s - gpu_pass(step, board, W8A8).time_s
    assert more == near(head.k * head.n / board.dram.stream_b_per_s, rel=0.01)


# --- other elements --------------------------------------------------------------------------------------------------


def test_shift_and_add_delays_follow_the_bits_of_the_weight() -> None:
    four = processing_elements.array_element(4, 8)
    assert four.weights.tolist() == list(range(-8, 8))
    delay = dict(zip(four.weights.tolist(), four.delay_s[0].tolist(), strict=True))
    energy = dict(zip(four.weights.tolist(), four.energy_j[0].tolist(), strict=True))
    assert delay[4] == delay[-8] == delay[1] < delay[3] < delay[7] < delay[-1]
    assert energy[0] < energy[4] < energy[-1]
    # 4 bits of weight, 4 of activation: shorter and quieter than 4 x 8, and that than 8 x 8
    preset, eight = processing_elements.array_element(4, 4), processing_elements.array_element(8, 8)
    assert preset.activation_bits == 4
    for kind in ("delay_s", "energy_j"):
        assert getattr(preset, kind).max() < getattr(four, kind).max() < getattr(eight, kind).max()
    with pytest.raises(InputError, match=r"^weight_bits of a processing element must be 2 to 8, not 9.$"):
        processing_elements.array_element(9, 8)


def test_bit_serial_cycles() -> None:
    # 3 x 3 x 64 sum: 2 + 2 x (ceil log2 9 + ceil log2 64) + 8 digits
    assert processing_elements.serial_dot_cycles(3, 64, 8) == 2 + 2 * (4 + 6) + 8
    assert processing_elements.early_negative_cycles(30.0, 0.5, 0.4) == near(24)
    assert processing_elements.weight_serial_cycles(np.array([0, 64, -128], np.int16)) == 1
    assert processing_elements.weight_serial_cycles(np.array([0, 7, 85], np.int16)) == 4
    assert processing_elements.signed_digits(np.array([0, 1, 3, 7, -7, 85, 127], np.int16)).tolist() == [
        0,
        1,
        2,
        2,
        2,
        4,
        2,
    ]
    assert (
        processing_elements.serial_element().energy_j[0][128 + 64]
        < processing_elements.serial_element().energy_j[0][128 + 85]
    )
    with pytest.raises(InputError, match=r"^kernel of a bit-serial sum must be at least 1, not 0.$"):
        processing_elements.serial_dot_cycles(0, 1, 1)
    with pytest.raises(InputError, match=r"^negative_share must be 0 to 1, not 2.$"):
        processing_elements.early_negative_cycles(30.0, 2.0, 0.4)
    with pytest.raises(InputError, match=r"^digits_out of a bit-serial element must be at least 1, not 0.$"):
        processing_elements.serial_element(0)


def test_an_element_runs_in_the_simulator_at_its_cycles_per_mac() -> None:
    workload = tiny_workload(30)
    tiles = random_tiles(workload, 0, classes=1)
    schedule = plan(workload.gemms, tiles, (BASE,) * 3, BASE)
    one = simulate(workload, tiles, schedule, toy_target(), processing_elements.serial_element())
    eight = simulate(workload, tiles, schedule, toy_target(), processing_elements.serial_element(), cycles_per_mac=8.0)
    assert eight.total.time_s["compute"] > 7 * one.total.time_s["compute"]
    assert eight.peak_macs_per_s == one.peak_macs_per_s / 8


# --- bit operations --------------------------------------------------------------------------------------------------


def test_bit_operations_by_hand() -> None:
    values = np.array([[0, 64], [-128, 7]], np.int16)
    tiles = value_tiles("x", values, TileGrid(2, 2, 4, 4), BitCount(4), nnz=1)
    assert bit_operations.enclosed_bits(np.array([0, 1, 64, -128, 7, 10, 127], np.int16)).tolist() == [
        0,
        1,
        1,
        1,
        3,
        3,
        7,
    ]
    assert bit_operations.ebops(tiles) == (0 + 1 + 1 + 3 + 8) * 8
    # 3 dense and 1 sparse of 4 weights not zero, 8 bits each: 4 x (1 x 64 + 8 + 8 + log2 2)
    assert bit_operations.bops(tiles) == near(4 * (64 + 8 + 8 + 1))
    assert bit_operations.signed_bits(np.array([-112, 0, 112])) == 4 and bit_operations.signed_bits(np.array([0])) == 0
    with pytest.raises(InputError, match=r"^activation_bits must be at least 1, not 0.$"):
        bit_operations.ebops(tiles, 0)


# --- files -----------------------------------------------------------------------------------------------------------


def _run():
    workload = tiny_workload(30, attention=True)
    tiles = random_tiles(workload, 1)
    target = toy_target(count=2)
    schedule = plan(workload.gemms, tiles, (BASE, MIDDLE, TOP), BASE, "serpentine", 1500.0)
    assert max(schedule.row_blocks.values()) > 2
    return simulate(workload, tiles, schedule, target, toy_profile(), system="HALO"), target


def test_json_is_versioned_and_adds_up() -> None:
    run, target = _run()
    raw = simulation_json(run, target)
    read = read_simulation(raw)
    assert (read.format, read.version, read.system) == ("haloquant.simulation", 1, "HALO")
    assert read.total_time_s == near(sum(read.time_s.values()))
    for part, value in read.energy_j.items():
        assert value == near(sum(layer.energy_j[part] for layer in read.layers))
    assert read.transitions == run.total.transitions and len(read.machine_hash) == 64
    other = simulation_json(run, toy_target())
    assert read_simulation(other).machine_hash != read.machine_hash
    with pytest.raises(FormatError, match=r"^simulation must be of format haloquant.simulation, version 1, not .* 2.$"):
        read_simulation(raw.replace(b'"version": 1', b'"version": 2'))
    with pytest.raises(FormatError, match=r"^simulation must be a JSON document of haloquant, and it is not: "):
        read_simulation(b"{")


def test_csv_rows_add_up() -> None:
    run, _ = _run()
    rows = list(csv.DictReader(io.StringIO(layers_csv([run, run]))))
    assert len(rows) == 2 * (len(run.layers) + 1)
    first, total = rows[: len(run.layers)], rows[len(run.layers)]
    assert total["layer"] == "total"
    for column in ("total_s", "total_j", "mac_j", "macs", "tiles"):
        assert float(total[column]) == near(sum(float(row[column]) for row in first))


def test_trace_has_the_tracks_and_never_overlaps() -> None:
    run, _ = _run()
    trace = json.loads(trace_json(run))
    events = trace["traceEvents"]
    names = {e["tid"]: e["args"]["name"] for e in events if e["ph"] == "M" and e["name"] == "thread_name"}
    assert list(names.values()) == ["array 0", "array 1", "DRAM", "SRAM", "SpMV"]
    assert {e["name"] for e in events if e["ph"] == "C"} == {"supply (V)", "clock (GHz)"}
    for tid in names:
        spans = sorted((e["ts"], e["dur"]) for e in events if e["ph"] == "X" and e["tid"] == tid)
        assert spans
        for (start, length), (following, _) in pairwise(spans):
            assert start + length <= following + 1e-9
    assert {e["ph"] for e in events} == {"M", "X", "C"}
    assert all(e["ts"] >= 0 and e.get("dur", 0) >= 0 for e in events if e["ph"] != "M")
    end = max(e["ts"] + e["dur"] for e in events if e["ph"] == "X")
    assert end == near(run.time_s * 1e6)


def test_a_trace_of_very_many_steps_is_their_begin_and_says_so() -> None:
    run, _ = _run()
    whole, begin = timeline(run), timeline(run, most_events=9)
    assert whole.complete and not begin.complete
    assert 9 <= len(begin.events) < len(whole.events)
    assert begin.events == whole.events[: len(begin.events)]
    assert begin.end_s == near(max(event.start_s + event.duration_s for event in begin.events))
    title = json.loads(trace_json(run, most_events=9))["traceEvents"][0]["args"]["name"]
    assert title.endswith(f", its first {begin.end_s:.4g} s of {run.time_s:.4g} s")
