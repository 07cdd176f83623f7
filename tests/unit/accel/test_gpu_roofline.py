"""A pass on a GPU by the roofline model."""

import pytest

from haloquant.accel.gpu_roofline import FLOAT16, W4A8, W8A8, GpuFormat, gpu_pass, what_if
from haloquant.accel.workload.model_shapes import named_shape
from haloquant.accel.workload.prefill_decode import decode, prefill
from haloquant.errors import InputError
from haloquant.store.platforms import read_platform
from haloquant.store.targets import read_gpu
from support.near import near


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
    with pytest.raises(InputError, match=r"^bits of format x must be above 0$"):
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


def test_a_raspberry_pi_reaches_what_others_measured() -> None:
    """LLMPi's rates and energies on the board. The memory's efficiency comes from one of the rows."""
    board, platform = read_gpu("rpi5"), read_platform("rpi5_llmpi")
    stored_bits = {"Q8_0": 8.5, "Q6_K": 6.5625}
    formats = {"F16": FLOAT16} | {name: GpuFormat(name, bits, 8, 16, "int8") for name, bits in stored_bits.items()}
    names = {"Llama-3.2-1B": "llama3.2-1b", "Llama-3.2-3B": "llama3.2-3b", "Llama-3-8B": "llama3.1-8b"}
    judged = 0
    for row in platform.rows:
        if row.model not in names or row.format not in formats or row.read_b > platform.memory_b:
            continue
        found = gpu_pass(decode(named_shape(names[row.model]), 64), board, formats[row.format])
        assert 1 / found.time_s == near(row.tok_s, rel=0.15), row
        assert row.tok_per_j is not None and 1 / found.energy_per_token_j == near(row.tok_per_j, rel=0.15), row
        assert found.bound == "dram"
        judged += 1
    assert judged == 7
