"""config.json under the names of each family: sections of text, sizes by other names, infinity."""

import json
from pathlib import Path

import pytest

from haloquant.errors import CheckpointError
from haloquant.lm.checkpoint.model_config import (
    BLOCKS,
    HEADS,
    HIDDEN,
    is_of_several_parts,
    is_quantized,
    read_config,
    text_part,
    whole_number,
    window_tokens,
)


def test_infinity_is_read_as_transformers_writes_it(tmp_path: Path) -> None:
    file = tmp_path / "config.json"
    file.write_text('{"time_step_limit": [0.0, Infinity]}')
    assert read_config(file) == {"time_step_limit": [0.0, float("inf")]}
    file.write_text("[1]")
    with pytest.raises(CheckpointError, match=r"config\.json must be the JSON configuration of a model, an object"):
        read_config(file)


def test_the_text_part_of_a_model_of_several_parts() -> None:
    config = {
        "model_type": "llava",
        "tie_word_embeddings": False,
        "vision_config": {"hidden_size": 32},
        "text_config": {"model_type": "llama", "hidden_size": 64},
    }
    assert is_of_several_parts(config) and not is_of_several_parts({"model_type": "llama"})
    inner = text_part(config)
    assert inner["model_type"] == "llama" and inner["hidden_size"] == 64 and inner["tie_word_embeddings"] is False
    assert "vision_config" not in inner
    assert text_part({"thinker_config": config})["hidden_size"] == 64


@pytest.mark.parametrize(
    ("config", "sizes"),
    [
        ({"hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 4}, (8, 2, 4)),
        ({"d_model": 8, "n_layers": 2, "n_heads": 4}, (8, 2, 4)),  # MPT
        ({"hidden_size": 8, "num_layers": 2, "num_heads": 4}, (8, 2, 4)),  # GPT-Neo
        ({"n_embd": 8, "n_layer": 2, "n_head": 4}, (8, 2, 4)),  # GPT-2, BLOOM
        ({"d_model": 8, "num_layers": 2, "attention_heads": 4}, (8, 2, 4)),  # XGLM
        ({"hidden_size": 0, "n_layer": None, "num_heads": True}, (None, None, None)),
    ],
)
def test_sizes_by_other_names(config: dict[str, object], sizes: tuple[int | None, ...]) -> None:
    assert tuple(whole_number(config, names) for names in (HIDDEN, BLOCKS, HEADS)) == sizes


def test_a_text_in_place_of_a_number_is_an_error() -> None:
    with pytest.raises(CheckpointError, match=r"hidden_size of config\.json must be a whole number, not 'many'"):
        whole_number({"hidden_size": "many"}, HIDDEN)


def test_the_window_is_that_of_the_decoder() -> None:
    assert window_tokens({"text_config": {"max_position_embeddings": 512}}, 2048) == 512
    assert window_tokens({"max_seq_len": 4096}, 2048) == 2048
    assert window_tokens(json.loads("{}"), 2048) == 2048
    roberta = {"model_type": "roberta", "max_position_embeddings": 514}
    assert window_tokens(roberta, 2048) == window_tokens(roberta | {"pad_token_id": 1}, 2048) == 512
    with pytest.raises(CheckpointError, match="must give a positive number of positions, not -1"):
        window_tokens({"n_positions": -1}, 2048)


def test_a_null_is_no_quantization() -> None:
    assert not is_quantized({}) and not is_quantized({"quantization_config": None})
    assert is_quantized({"quantization_config": {"quant_method": "gptq"}})
