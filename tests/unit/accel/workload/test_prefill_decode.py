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
    with pytest.raises(InputError, match=f"^{name} of a workload must be at least 1, not 0.$"):
        prefill(named_shape("opt-1.3b"), **sizes)
    with pytest.raises(InputError, match=r"^context of a workload must be at least 1, not -5.$"):
        decode(named_shape("opt-1.3b"), -5)
