"""Numbers of a config.json that no model has, and the value at which transformers failed."""

import json
from pathlib import Path
from typing import Any

import pytest

from haloquant.errors import CheckpointError
from haloquant.lm.checkpoint.config_values import failed_at
from haloquant.lm.checkpoint.model_config import read_config

NAN, INF = float("nan"), float("inf")


def read(folder: Path, config: dict[str, Any]) -> dict[str, Any]:
    (folder / "config.json").write_text(json.dumps(config))
    return read_config(folder)


@pytest.mark.parametrize(
    ("config", "sentence"),
    [
        (
            {"rms_norm_eps": NAN},
            r"^rms_norm_eps of .*config\.json must be a finite number, not nan; the file is ",
        ),
        ({"layer_norm_epsilon": -1e-5}, r"^layer_norm_epsilon of .* must be at least 0, not -1e-05$"),
        ({"text_config": {"eps": INF}}, r"^text_config\.eps of .* must be a finite number, not inf"),
        ({"logit_scale": -INF}, "^logit_scale of .* must be a finite number, not -inf"),
        ({"rope_theta": 0}, r"^rope_theta of .* must be above 0, not 0$"),
        (
            {"rope_parameters": {"full_attention": {"rope_theta": -1.0}}},
            r"full_attention\.rope_theta of .* above 0",
        ),
        ({"rotary_emb_base": 0}, "^rotary_emb_base of .* must be above 0"),
        ({"rope_local_base_freq": 0.0}, "^rope_local_base_freq of .* must be above 0"),
        ({"rope_scaling": {"factor": 0}}, r"^rope_scaling\.factor of .* must be above 0, not 0$"),
        ({"hidden_size": 10**12}, r"^hidden_size of .* must be at most 16,777,216, not 1000000000000$"),
        ({"text_config": {"num_hidden_layers": 10**6}}, r"^text_config\.num_hidden_layers of .* must be at most 4,096"),
        ({"n_layer": 4096, "num_local_experts": 64}, "must have at most 131,072 experts in all blocks, not 64 in each"),
        ({"num_attention_heads": 0}, r"config\.json must give a positive num_attention_heads, not 0$"),
        ({"num_key_value_heads": -2}, "must give a positive num_key_value_heads, not -2$"),
        ({"max_position_embeddings": 0}, "must give a positive max_position_embeddings, not 0$"),
        ({"text_config": {"n_embd": 0}}, "must give a positive n_embd, not 0$"),
        ({"model_type": ["llama"]}, r"^model_type of .* must be the name of a family, not \['llama'\]$"),
    ],
)
def test_a_number_that_no_model_has_is_refused(config: dict[str, Any], sentence: str, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=sentence):
        read(tmp_path, config)


@pytest.mark.parametrize(
    "config",
    [
        {"time_step_limit": [0.0, INF], "swiglu_limit": INF, "time_step_max": INF},
        {"rms_norm_eps": 0.0, "rope_theta": 1e-3, "attention_dropout": 0.0, "first_k_dense_replace": 0},
        {"num_attention_heads": None, "head_dim": True, "vision_config": {"hidden_size": 0}, "sliding_window": 0},
    ],
)
def test_numbers_that_models_have_are_taken(config: dict[str, Any], tmp_path: Path) -> None:
    assert read(tmp_path, config) == config


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (KeyError("nosuch"), "it knows no hidden_act 'nosuch'"),
        (KeyError(0), "it knows no text_config.n_group 0"),  # and not the number of a token
        (KeyError("other"), "it looks up 'other' and finds nothing"),
        (AttributeError("module 'torch' has no attribute 'float7'"), "it knows no dtype 'float7'"),
        (AttributeError("'Llama' has no attribute 'x'"), "'Llama' has no attribute 'x'"),
        (ZeroDivisionError("integer modulo by zero"), "it divides by 0, the value of text_config.n_group"),
        (TypeError("bad operand"), "rope.rope_theta is no number, but '1e4'; bad operand"),
        (ValueError("some text"), "some text"),
    ],
)
def test_the_value_at_which_transformers_failed_is_named(error: Exception, reason: str) -> None:
    config = {
        "hidden_act": "nosuch",
        "dtype": "float7",
        "bos_token_id": 0,
        "attention_dropout": 0.0,
        "rope": {"rope_theta": "1e4"},
        "text_config": {"n_group": 0},
    }
    assert failed_at(error, config) == reason
    if isinstance(error, ZeroDivisionError | TypeError):
        plain = {ZeroDivisionError: "integer modulo by zero", TypeError: "bad operand"}[type(error)]
        assert failed_at(error, {"vocab_size": 5}) == plain
