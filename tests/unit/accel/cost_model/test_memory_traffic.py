"""DRAM traffic of attention by hand."""

import pytest

from haloquant.accel.cost_model.layer_work import layer_works
from haloquant.accel.cost_model.memory_traffic import layer_traffic
from haloquant.accel.workload.model_shapes import named_shape
from haloquant.accel.workload.prefill_decode import prefill
from haloquant.store.targets import read_systolic
from support.accel_cases import toy_profile


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
