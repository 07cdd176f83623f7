"""The shape of a model by whatever names it."""

import json
from pathlib import Path

import pytest

from haloquant.accel.workload.prefill_decode import decode
from haloquant.errors import CheckpointError, InputError
from haloquant.jobs.inputs import package_folder
from haloquant.jobs.machines.model_inputs import read_shape
from haloquant.jobs.machines.model_layers import shape_of_config

DEMO = package_folder() / "demo" / "model"


def test_the_demo_model_by_every_name() -> None:
    config = json.loads((DEMO / "config.json").read_text())
    shape = read_shape("demo")
    assert (shape.hidden, shape.layers) == (config["hidden_size"], config["num_hidden_layers"])
    for other in (str(DEMO), str(DEMO / "config.json")):
        assert decode(read_shape(other), 10).gemms == decode(shape, 10).gemms


def test_latent_attention_and_active_experts_follow_from_a_config(tmp_path: Path) -> None:
    config = {
        "model_type": "deepseek_v3", "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2,
        "num_attention_heads": 4, "num_key_value_heads": 4, "vocab_size": 100, "num_experts_per_tok": 2,
        "q_lora_rank": 24, "kv_lora_rank": 16, "qk_nope_head_dim": 16, "qk_rope_head_dim": 8, "v_head_dim": 16,
    }  # fmt: skip
    attention = {
        "q_a_proj": (24, 64), "q_b_proj": (4 * 24, 24), "kv_a_proj_with_mqa": (24, 64), "kv_b_proj": (4 * 32, 16),
        "o_proj": (64, 64),
    }  # fmt: skip
    shapes = {"model.embed_tokens.weight": (100, 64), "lm_head.weight": (100, 64)}
    for block in range(2):
        start = f"model.layers.{block}"
        shapes |= {f"{start}.self_attn.{name}.weight": size for name, size in attention.items()}
        for expert in range(8):
            sizes = {"gate_proj": (32, 64), "up_proj": (32, 64), "down_proj": (64, 32)}
            shapes |= {f"{start}.mlp.experts.{expert}.{name}.weight": size for name, size in sizes.items()}
    step = decode(shape_of_config(tmp_path / "config.json", config, shapes), 30)
    first = {g.layer.rpartition(".")[2]: g for g in step.gemms if ".layers.1." in g.layer}
    assert (first["scores"].k, first["values"].n, first["scores"].m) == (16 + 8, 16, 4)
    assert len({g.layer for g in step.gemms if ".layers.1.mlp.experts." in g.layer}) == 2 * 3


def test_windows_follow_from_a_config(tmp_path: Path) -> None:
    config = {
        "model_type": "mistral", "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2,
        "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 100, "sliding_window": 12,
    }  # fmt: skip
    attention = {"q_proj": (64, 64), "k_proj": (32, 64), "v_proj": (32, 64), "o_proj": (64, 64)}
    feed = {"gate_proj": (96, 64), "up_proj": (96, 64), "down_proj": (64, 96)}
    shapes = {"model.embed_tokens.weight": (100, 64), "lm_head.weight": (100, 64)}
    for block in range(2):
        shapes |= {f"model.layers.{block}.self_attn.{name}.weight": size for name, size in attention.items()}
        shapes |= {f"model.layers.{block}.mlp.{name}.weight": size for name, size in feed.items()}
    for added, seen in (
        ({}, [12, 12]),
        ({"layer_types": ["full_attention", "sliding_attention"]}, [30, 12]),
        ({"sliding_window_pattern": 2}, [12, 30]),
        ({"use_sliding_window": False}, [30, 30]),
    ):
        step = decode(shape_of_config(tmp_path / "config.json", {**config, **added}, shapes), 30)
        assert [g.n for g in step.gemms if g.layer.endswith("scores")] == seen


@pytest.mark.parametrize(
    ("sizes", "sentence"),
    [
        (
            {"num_hidden_layers": 10**12},
            r"num_hidden_layers of .*config\.json must be at most 4,096, not 1000000000000$",
        ),
        ({"hidden_size": 10**12}, r"hidden_size of .* must be at most 16,777,216, not 1000000000000$"),
        ({"vocab_size": 1 << 30}, "vocab_size of .* must be at most 16,777,216, not"),
        ({"text_config": {"num_attention_heads": 1 << 40}}, "num_attention_heads of .* must be at most"),
        (
            {"num_hidden_layers": 4096, "n_routed_experts": 64},
            "at most 131,072 experts in all blocks, not 64 in each of",
        ),
    ],
)
def test_sizes_larger_than_any_models_are_refused_before_the_model_is_built(
    sizes: dict[str, object], sentence: str, tmp_path: Path
) -> None:
    config = json.loads((DEMO / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | sizes))
    with pytest.raises(CheckpointError, match=sentence):
        read_shape(str(tmp_path / "config.json"))


def test_what_is_no_model() -> None:
    with pytest.raises(InputError, match=r"model shape must be one of llama2-7b, .*, not 'llama2-8b'"):
        read_shape("llama2-8b")
