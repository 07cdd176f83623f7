"""Tiny random models of every decoder in transformers, with a tokenizer of bytes, saved as a user would have them."""

import warnings
from pathlib import Path
from typing import Any

import torch
import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from haloquant.lm.checkpoint.model_config import POSITIONS

TEXT = " ".join(
    f"{who} {did} {what}."
    for who in ("The dog", "A girl", "My uncle", "Nobody")
    for did in ("saw", "carried", "forgot", "painted", "sold")
    for what in ("the old boat", "a heavy stone", "three letters", "every lamp in town")
)
# Small values for the names of sizes that configurations use.
SMALL = {
    "vocab_size": 260, "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 96,
    "max_position_embeddings": 64, "num_key_value_heads": 2, "head_dim": 16, "n_embd": 64, "n_layer": 2, "n_head": 4,
    "n_positions": 64, "d_model": 64, "n_layers": 2, "n_heads": 4, "max_seq_len": 64, "num_layers": 2, "num_heads": 4,
    "ffn_dim": 96, "attention_heads": 4, "decoder_layers": 2, "decoder_attention_heads": 4, "decoder_ffn_dim": 96,
    "encoder_layers": 2, "encoder_attention_heads": 4, "encoder_ffn_dim": 96, "moe_intermediate_size": 48,
    "shared_expert_intermediate_size": 48, "num_experts": 4, "num_local_experts": 4, "n_routed_experts": 4,
    "num_experts_per_tok": 2, "n_group": 1, "topk_group": 1, "q_lora_rank": 24, "kv_lora_rank": 16, "dff": 96,
    "qk_nope_head_dim": 8, "qk_rope_head_dim": 8, "v_head_dim": 16, "pad_token_id": 2, "bos_token_id": 0,
    "eos_token_id": 1, "mamba_n_heads": 4, "mamba_d_head": 32, "mamba_d_state": 16, "mamba_n_groups": 1,
    "mamba_d_ssm": 128, "state_size": 16, "n_groups": 1, "time_step_rank": 4, "mamba_dt_rank": 4, "mamba_headdim": 32,
    "mamba_ngroups": 1, "mamba_head_dim": 32, "mamba_num_heads": 4, "ssm_state_size": 16, "linear_num_value_heads": 4,
    "linear_num_key_heads": 2, "linear_key_head_dim": 16, "linear_value_head_dim": 16, "sliding_window": 32,
    "window_size": 32, "embedding_size": 64, "dim_model": 64, "dim_ff": 96, "dim_head": 16, "lru_width": 64,
    "attention_window_size": 32, "ffn_hidden_size": 96, "expert_ffn_hidden_size": 48, "rotary_dim": 8,
}  # fmt: skip
VISION = {
    "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 1, "num_attention_heads": 2, "image_size": 28,
    "patch_size": 14,
}  # fmt: skip
_LATENT = {"num_key_value_heads": 4, "first_k_dense_replace": 1, "head_dim": 8}
# Embeddings of the tokens for each block.
_PER_BLOCK = {
    "vocab_size_per_layer_input": 260, "hidden_size_per_layer_input": 8,
    "layer_types": ["sliding_attention", "full_attention"],
}  # fmt: skip
# Settings that the small values do not fit.
SPECIAL: dict[str, dict[str, Any]] = {
    "deepseek_v3": _LATENT, "deepseek_v32": _LATENT, "glm_moe_dsa": _LATENT, "glm4_moe_lite": _LATENT, "axk1": _LATENT,
    "axk2": _LATENT, "youtu": _LATENT,
    "deepseek_v4": {"o_lora_rank": 16, "index_head_dim": 16, "index_topk": 16},
    "dots1": {"n_shared_experts": 1, "n_routed_experts": 4, "num_experts_per_tok": 2, "first_k_dense_replace": 1},
    "dots3_note_text": {"num_key_value_heads": 4},
    "dbrx": {
        "attn_config": {"kv_n_heads": 2, "rope_theta": 1e4, "clip_qkv": 8.0},
        "ffn_config": {"ffn_hidden_size": 96, "hidden_size": 64, "moe_num_experts": 4, "moe_top_k": 2},
    },
    "gemma3n_text": {
        **_PER_BLOCK, "num_kv_shared_layers": 0, "laurel_rank": 8, "activation_sparsity_pattern": [0.0, 0.0],
    },
    "longcat_flash": {"head_dim": 8, "num_key_value_heads": 4, "zero_expert_num": 2},
    "kimi_linear": {
        "linear_head_dim": 16, "linear_num_heads": 4, "num_experts_per_token": 2, "model_max_length": 64,
        "num_key_value_heads": 4,
    },
    "minicpm3": {"num_key_value_heads": 4},
    "lfm2_moe": {"layer_types": ["conv", "full_attention"], "num_dense_layers": 1},
    "gemma4_text": _PER_BLOCK,
    "mamba2": {"expand": 2, "head_dim": 32, "chunk_size": 16},
    "gpt_neo": {"attention_types": [[["global", "local"], 1]]},
    "lfm2": {"layer_types": ["conv", "full_attention"]},
    "bamba": {"attn_layer_indices": [1]},
    "gemma3": {
        "text_config": {**SMALL, "sliding_window": 32}, "vision_config": VISION, "mm_tokens_per_image": 4,
        "image_token_index": 250, "boi_token_index": 251, "eoi_token_index": 252,
    },
}  # fmt: skip
MODEL_TYPES = tuple(sorted(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES))


def tiny_config(model_type: str) -> Any:
    """Return a configuration of the family with small sizes."""
    kind = transformers.CONFIG_MAPPING[model_type]
    if "text_config" in SPECIAL.get(model_type, {}):
        return kind(**SPECIAL[model_type])
    usual = kind()
    small = {name: value for name, value in SMALL.items() if _is_set(usual, name)}
    config = kind(**small | SPECIAL.get(model_type, {}))
    if not any(getattr(config, name, None) for name in POSITIONS):
        # Without a context a window has 2048 tokens: the gradients of a loop over tokens take minutes and gigabytes.
        config.max_position_embeddings = 64
    return config


def _is_set(config: Any, name: str) -> bool:
    """Return whether a configuration takes a value of this name; a property follows from others."""
    if isinstance(getattr(type(config), name, None), property):
        return False
    try:
        return hasattr(config, name)
    except RuntimeError:  # a value for each block
        return True


def save_model(folder: Path, config: Any, most_parameters: int = 6_000_000) -> Any:
    """Save a random model of a configuration with a tokenizer of bytes; return the model.

    Raises:
        ValueError: the model would be too large.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with torch.device("meta"):
            count = sum(p.numel() for p in transformers.AutoModelForCausalLM.from_config(config).parameters())
        if count > most_parameters:
            raise ValueError(f"{count} parameters")
        torch.manual_seed(0)
        model = transformers.AutoModelForCausalLM.from_config(config)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim == 1:
                parameter.add_(0.1 * torch.randn_like(parameter))
            elif parameter.ndim < 4 and "emb" not in name and "wte" not in name:
                parameter.normal_(0, parameter.shape[-1] ** -0.5)
    model.eval().save_pretrained(folder)
    save_tokenizer(folder)
    return model


def save_tokenizer(folder: Path) -> None:
    """Save a tokenizer of bytes with 259 tokens."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {"<s>": 0, "</s>": 1, "<pad>": 2} | {letter: i + 3 for i, letter in enumerate(alphabet)}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    wrapped = transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", pad_token="<pad>"
    )
    wrapped.save_pretrained(folder)
