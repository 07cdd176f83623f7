"""Made-up configurations of many families: a null, a list, a section or a setting by layer stops no description."""

import json
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("transformers")

from haloquant.accel.workload.prefill_decode import decode
from haloquant.errors import CheckpointError, first_line
from haloquant.jobs.machines.model_inputs import read_shape
from haloquant.lm.checkpoint.reader import open_checkpoint
from haloquant.lm.model_check import check_model
from haloquant.lm.model_class import class_of
from haloquant.lm.torch_model import load_model
from support.model_families import save_model, tiny_config

PLAIN = {
    "vocab_size": 100, "hidden_size": 64, "num_hidden_layers": 4, "num_attention_heads": 4, "num_key_value_heads": 2,
    "intermediate_size": 96, "max_position_embeddings": 128,
}  # fmt: skip
KINDS = ["sliding_attention", "full_attention"] * 2
EXPERTS = {"num_experts_per_tok": 2, "moe_intermediate_size": 48}
LATENT = {
    **PLAIN, **EXPERTS, "num_key_value_heads": 4, "kv_lora_rank": 16, "qk_nope_head_dim": 8, "qk_rope_head_dim": 4,
    "v_head_dim": 16, "n_routed_experts": 4, "n_shared_experts": 1, "first_k_dense_replace": 1, "n_group": 1,
    "topk_group": 1,
}  # fmt: skip
# Configuration; tokens that the attention of each block reads of 50; features of a key; products of experts in block 3.
MADE_UP: dict[str, tuple[dict[str, Any], list[int], int, int]] = {
    "mistral with kinds": (
        {**PLAIN, "model_type": "mistral", "sliding_window": 20, "layer_types": KINDS}, [20, 50, 20, 50], 16, 0,
    ),
    "mistral with nulls": (
        {**PLAIN, "model_type": "mistral", "sliding_window": None, "head_dim": None, "text_config": None},
        [50] * 4, 16, 0,
    ),
    "llama with nulls": (
        {**PLAIN, "model_type": "llama", "num_key_value_heads": None, "head_dim": None, "rope_scaling": None},
        [50] * 4, 16, 0,
    ),
    "granite": ({**PLAIN, "model_type": "granite", "head_dim": None}, [50] * 4, 16, 0),
    "deepseek_v2": (
        {**LATENT, "model_type": "deepseek_v2", "q_lora_rank": None, "topk_method": "greedy"}, [50] * 4, 20, 6,
    ),
    "deepseek_v3": ({**LATENT, "model_type": "deepseek_v3", "q_lora_rank": 24}, [50] * 4, 20, 6),
    "gemma3": (
        {
            "model_type": "gemma3",
            "text_config": {
                **PLAIN, "model_type": "gemma3_text", "head_dim": 32, "sliding_window": 20, "layer_types": KINDS,
            },
            "vision_config": {
                "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 1, "num_attention_heads": 2,
                "image_size": 28, "patch_size": 14,
            },
        },
        [20, 50, 20, 50], 32, 0,
    ),
    "qwen3_moe": (
        {**PLAIN, **EXPERTS, "model_type": "qwen3_moe", "head_dim": 32, "num_experts": 4, "mlp_only_layers": [0]},
        [50] * 4, 32, 6,
    ),
    "gpt_oss": (
        {
            **PLAIN, "model_type": "gpt_oss", "head_dim": 16, "num_local_experts": 4, "num_experts_per_tok": 2,
            "sliding_window": 20, "layer_types": KINDS,
        },
        [20, 50, 20, 50], 16, 4,
    ),
    "phi4": ({**PLAIN, "model_type": "phi3", "pad_token_id": 0, "sliding_window": None}, [50] * 4, 16, 0),
    "llama4": (
        {
            "model_type": "llama4",
            "text_config": {
                **PLAIN, "model_type": "llama4_text", "head_dim": 16, "num_local_experts": 4, "num_experts_per_tok": 1,
                "intermediate_size_mlp": 80, "moe_layers": [1, 3],
            },
        },
        [50] * 4, 16, 2,
    ),
}  # fmt: skip
# A value of a kind that transformers does not take, and what it says.
MALFORMED = {
    "a text for a number": ({"num_attention_heads": "4"}, "expected int, got str"),
    "a list for a number": ({"num_attention_heads": [4] * 4}, "expected int, got list"),
    "kinds of too few layers": ({"layer_types": KINDS[:2]}, r"`num_hidden_layers` \(4\) must be equal"),
    "padding beyond the vocabulary": ({"pad_token_id": 500}, "[Pp]adding_idx"),
}


def saved(folder: Path, config: dict[str, Any]) -> Path:
    (folder / "config.json").write_text(json.dumps(config))
    return folder / "config.json"


@pytest.mark.parametrize("name", MADE_UP)
def test_a_made_up_configuration_is_described(name: str, tmp_path: Path) -> None:
    config, reads, key, experts = MADE_UP[name]
    products = decode(read_shape(str(saved(tmp_path, config))), 50).gemms
    scores = [product for product in products if product.layer.endswith(".scores")]
    assert [product.n for product in scores] == reads
    assert {product.k for product in scores} == {key}
    routed = [product.layer for product in products if ".3." in product.layer and ".experts." in product.layer]
    assert len(routed) == experts


@pytest.mark.parametrize("name", MALFORMED)
def test_what_transformers_refuses_is_one_sentence(name: str, tmp_path: Path) -> None:
    changed, said = MALFORMED[name]
    file = saved(tmp_path, {**PLAIN, "model_type": "llama", **changed})
    with pytest.raises(CheckpointError, match=said) as error:
        read_shape(str(file))
    assert str(error.value).startswith(f"{file} must load as a causal model in transformers, but: ")
    assert "\n" not in str(error.value)


def test_a_family_that_needs_the_size_of_a_head_is_refused_with_what_to_add(tmp_path: Path) -> None:
    from transformers import GraniteConfig

    save_model(tmp_path, GraniteConfig(**PLAIN, head_dim=16))
    load_model(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    saved(tmp_path, {**config, "head_dim": None})
    for doing in (load_model, lambda folder: check_model(open_checkpoint(folder))):
        with pytest.raises(CheckpointError, match=r'add "head_dim": 16 to config.json$'):
            doing(tmp_path)


def test_the_class_that_a_configuration_names_loads_it() -> None:
    """Two auto classes know such a configuration: one makes the whole model, one the text model alone."""
    from transformers import AutoModelForCausalLM, AutoModelForImageTextToText

    config = tiny_config("qwen3_5")
    for name, auto in (
        (None, AutoModelForCausalLM),
        ("Qwen3_5ForCausalLM", AutoModelForCausalLM),
        ("Qwen3_5ForConditionalGeneration", AutoModelForImageTextToText),
        ("Other", AutoModelForCausalLM),
    ):
        config.architectures = None if name is None else [name]
        assert class_of(config) is auto


@pytest.mark.parametrize(("family", "how"), [("hrm_text", "Chunk"), ("inkling2_text", "Interleave")])
def test_a_matrix_that_transformers_changes_while_it_loads_is_refused_and_may_stay(
    family: str, how: str, tmp_path: Path
) -> None:
    save_model(tmp_path, tiny_config(family))
    with pytest.raises(
        CheckpointError, match=rf"makes other matrices of it while it loads \({how}\); leave it"
    ) as found:
        check_model(open_checkpoint(tmp_path))
    patterns = [str(found.value).partition("--exclude '")[2].removesuffix("')")]
    if family == "hrm_text":
        patterns.append("gqkv_proj")
    check_model(open_checkpoint(tmp_path, exclude=patterns))


def test_the_first_line_of_an_error_tells_what_happened() -> None:
    assert first_line(ValueError("\n one \n two")) == "one"
    assert first_line(ValueError("it failed:\n  because of this\nmore")) == "it failed: because of this"
    assert first_line(AssertionError()) == "AssertionError"
    assert first_line(KeyError("rope")) == "it looks up 'rope' and finds nothing"
