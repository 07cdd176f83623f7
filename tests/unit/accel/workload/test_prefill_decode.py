"""The matrix products of prefill and decode."""

import pytest

from haloquant.accel.workload.model_shapes import named_shape
from haloquant.accel.workload.prefill_decode import decode, prefill
from haloquant.errors import InputError


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
    with pytest.raises(InputError, match=f"^{name} of a workload must be at least 1, not 0$"):
        prefill(named_shape("opt-1.3b"), **sizes)
    with pytest.raises(InputError, match=r"^context of a workload must be at least 1, not -5$"):
        decode(named_shape("opt-1.3b"), -5)


def test_experts_that_run_are_one_product_of_their_joint_width() -> None:
    shape = named_shape("mixtral-8x7b")
    one, many = decode(shape, 10), prefill(shape, 100)
    block = {g.layer.rpartition(".")[2]: g for g in one.gemms if ".0.mlp." in g.layer}
    assert [(g.m, g.k, g.n) for g in block.values()] == [(1, 4096, 2 * 14336)] * 2 + [(1, 2 * 14336, 4096)]
    block = {g.layer.rpartition(".")[2]: g for g in many.gemms if ".0.mlp." in g.layer}
    assert [(g.m, g.k, g.n) for g in block.values()] == [(25, 4096, 8 * 14336)] * 2 + [(25, 8 * 14336, 4096)]
    # Every token passes two experts: as many multiply-accumulates as active weights, and those of attention.
    assert one.macs == shape.active_weights + 32 * 2 * 32 * 128 * 10
    rows = {(g.group, g.m) for g in prefill(named_shape("deepseek-v3"), 100).gemms}
    assert len({group for group, _ in rows}) == len(rows)  # products of one group have equal rows


def test_latent_attention_by_hand() -> None:
    shape = named_shape("deepseek-v3")
    read, step = prefill(shape, 50), decode(shape, 1000, batch=2)
    first = {g.layer.rpartition(".")[2]: g for g in read.gemms if g.layer.startswith("model.layers.0.self_attn")}
    assert {n: (g.k, g.n) for n, g in first.items()} == {
        "q_a_proj": (7168, 1536), "kv_a_proj_with_mqa": (7168, 576), "q_b_proj": (1536, 128 * 192),
        "kv_b_proj": (512, 128 * 256), "scores": (192, 50), "values": (50, 128), "o_proj": (128 * 128, 7168),
    }  # fmt: skip
    assert (first["scores"].m, first["scores"].count) == (50, 128)
    # In a decode step all heads of a sequence read one cache of 512 + 64 features.
    latent = {g.layer.rpartition(".")[2]: g for g in step.gemms if g.layer.startswith("model.layers.0.self_attn")}
    assert [(latent[n].m, latent[n].k, latent[n].n, latent[n].count) for n in ("scores", "values")] == [
        (128, 576, 1000, 2), (128, 1000, 512, 2),
    ]  # fmt: skip


def test_a_window_bounds_what_attention_reads() -> None:
    step = decode(named_shape("gpt-oss-20b"), 4096)
    assert [g.n for g in step.gemms if g.layer.endswith("scores")][:4] == [128, 4096, 128, 4096]
    assert [g.k for g in step.gemms if g.layer.endswith("values")][:2] == [128, 4096]
