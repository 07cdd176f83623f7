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
# Of the models of Qwen that read images and videos.
_PATCHES = {
    "depth": 1, "hidden_size": 32, "intermediate_size": 48, "num_heads": 2, "out_hidden_size": 64,
    "num_position_embeddings": 16, "deepstack_visual_indexes": [0],
}  # fmt: skip
_LATENT = {"num_key_value_heads": 4, "first_k_dense_replace": 1, "head_dim": 8}
# One of the four models within a model of bytes.
_BYTES = {
    "hidden_size": 64, "num_attention_heads": 4, "num_hidden_layers": 2, "intermediate_size": 96,
    "max_position_embeddings": 64,
}  # fmt: skip
# Tokens that stand for parts of images and of sound.
_TOKENS = {
    "boi_token_id": 250, "eoi_token_id": 251, "image_token_id": 252, "video_token_id": 253, "boa_token_id": 254,
    "eoa_token_index": 255, "audio_token_id": 256,
}  # fmt: skip
# A model that makes sound from text.
_MUSIC = {
    "text_encoder": {
        "model_type": "t5", "vocab_size": 260, "d_model": 32, "d_kv": 8, "d_ff": 48, "num_layers": 1, "num_heads": 4,
    },
    "audio_encoder": {
        "model_type": "encodec", "num_filters": 4, "hidden_size": 16, "codebook_size": 64, "codebook_dim": 16,
        "num_lstm_layers": 1, "upsampling_ratios": [2, 2],
    },
    "decoder": {
        "vocab_size": 64, "num_hidden_layers": 2, "ffn_dim": 96, "num_attention_heads": 4, "hidden_size": 64,
        "max_position_embeddings": 64, "pad_token_id": 63, "bos_token_id": 63,
    },
}  # fmt: skip
# The second block reads the tokens that the first one chose.
_CHOSEN = {"indexer_types": ["full", "shared"], "index_topk": 8}
# Embeddings of the tokens for each block. The last two blocks read the keys and values of the first two.
_PER_BLOCK = {
    "vocab_size_per_layer_input": 260, "hidden_size_per_layer_input": 8,
    "num_hidden_layers": 4, "layer_types": ["sliding_attention", "full_attention"] * 2, "num_kv_shared_layers": 2,
}  # fmt: skip
# A model that reads the keys and values of the model for which it drafts tokens.
_DRAFT = {"hidden_size_per_layer_input": 0, "vocab_size_per_layer_input": 0, "num_kv_shared_layers": 2}
# Settings that the small values do not fit.
SPECIAL: dict[str, dict[str, Any]] = {
    "deepseek_v3": _LATENT, "deepseek_v32": _LATENT, "glm_moe_dsa": {**_LATENT, **_CHOSEN}, "hy_v4": _CHOSEN,
    "glm4_moe_lite": _LATENT, "axk1": _LATENT,
    "axk2": _LATENT, "youtu": _LATENT,
    "deepseek_v4": {"o_lora_rank": 16, "index_head_dim": 16, "index_topk": 16},
    "dots1": {"n_shared_experts": 1, "n_routed_experts": 4, "num_experts_per_tok": 2, "first_k_dense_replace": 1},
    "dots3_note_text": {"num_key_value_heads": 4},
    "dbrx": {
        "attn_config": {"kv_n_heads": 2, "rope_theta": 1e4, "clip_qkv": 8.0},
        "ffn_config": {"ffn_hidden_size": 96, "hidden_size": 64, "moe_num_experts": 4, "moe_top_k": 2},
    },
    "gemma3n_text": {
        **_PER_BLOCK, "laurel_rank": 8, "activation_sparsity_pattern": [0.5, 0.0, 0.5, 0.0],
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
    "blt": {
        "max_position_embeddings": 64, "encoder_hash_byte_group_vocab": 50, "local_attention_window_len": 32,
        "patcher_config": _BYTES, "encoder_config": {**_BYTES, "hidden_size_global": 128},
        "decoder_config": {**_BYTES, "hidden_size_global": 128}, "global_config": {**_BYTES, "hidden_size": 128},
    },
    "cohere_compass_text": {"rope_parameters": {"full_attention": {"rope_type": "default", "rope_theta": 1e4}}},
    "dots3_note": {
        "text_config": "dots3_note_text",
        "vision_config": {
            **VISION, "mlp_layer_types": ["sparse"], "moe_intermediate_size": 16, "num_local_experts": 2,
            "adapter_in_dim": 32, "adapter_out_dim": 64,
        },
        "audio_config": {
            "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 1, "num_attention_heads": 2,
            "max_position_embeddings": 32, "feature_size": 16, "downsample_hidden_size": 8, "adapter_input_size": 32,
            "adapter_out_dim": 64,
        },
    },
    "emu3": {
        "text_config": "emu3_text_model",
        "vq_config": {
            "codebook_size": 8, "base_channels": 32, "channel_multiplier": [1], "num_res_blocks": 1, "hidden_size": 32,
            "attn_resolutions": [3],
        },
        "vocabulary_map": {"<image>": 250},
    },
    "fuyu": {"text_config": "persimmon", "image_size": 28, "patch_size": 14},
    "gemma3": {
        "text_config": "gemma3_text", "vision_config": VISION, "mm_tokens_per_image": 4, "image_token_index": 250,
        "boi_token_index": 251, "eoi_token_index": 252,
    },
    "gemma3n": {
        "text_config": "gemma3n_text",
        "vision_config": {"hidden_size": 32, "vocab_size": 4, "vocab_offset": 252, "architecture": "resnet10t"},
        "audio_config": {
            "vocab_size": 4, "vocab_offset": 256, "hidden_size": 32, "conf_num_attention_heads": 2,
            "conf_num_hidden_layers": 1, "sscp_conv_channel_size": [4, 4], "input_feat_size": 16,
        },
    },
    "gemma4": {
        "text_config": "gemma4_text", **_TOKENS,
        "vision_config": {
            **VISION, "num_key_value_heads": 2, "head_dim": 16, "patch_size": 4, "position_embedding_size": 16,
            "pooling_kernel_size": 1,
        },
        "audio_config": {
            "hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "subsampling_conv_channels": [4, 4],
            "output_proj_dims": 32,
        },
    },
    "gemma4_unified": {
        "text_config": "gemma4_unified_text", **_TOKENS,
        "vision_config": {"patch_size": 4, "mm_embed_dim": 64, "mm_posemb_size": 16, "output_proj_dims": 64},
        "audio_config": {"audio_embed_dim": 32},
    },
    "git": {"vision_config": VISION},
    "gemma4_assistant": {"text_config": {**SMALL, **_DRAFT, "model_type": "gemma4_text"}, "backbone_hidden_size": 64},
    "gemma4_unified_assistant": {
        "text_config": {**SMALL, **_DRAFT, "model_type": "gemma4_unified_text"}, "backbone_hidden_size": 64,
    },
    "got_ocr2": {
        "text_config": "qwen2", "image_token_index": 250, "image_seq_length": 4,
        "vision_config": {
            **VISION, "output_channels": 16, "patch_size": 14, "window_size": 2, "global_attn_indexes": [0],
            "mlp_dim": 48,
        },
    },
    "llama4": {
        "text_config": "llama4_text", "boi_token_index": 250, "eoi_token_index": 251, "image_token_index": 252,
        "vision_config": {
            **VISION, "vision_output_dim": 32, "projector_input_dim": 32, "projector_output_dim": 32,
        },
    },
    "mllama": {
        "text_config": "mllama_text_model", "image_token_index": 250,
        "vision_config": {
            **VISION, "attention_heads": 2, "num_global_layers": 1, "vision_output_dim": 64,
            "intermediate_layers_indices": [0], "max_num_tiles": 1, "supported_aspect_ratios": [[1, 1]],
        },
    },
    "mllama_text_model": {"num_hidden_layers": 3, "cross_attention_layers": [1]},
    "moss_transcribe_diarize": {
        "text_config": "qwen3", "audio_token_id": 250, "audio_merge_size": 2,
        "audio_config": {
            "num_mel_bins": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 48,
            "hidden_size": 32, "max_source_positions": 16,
        },
    },
    "musicgen": _MUSIC, "musicgen_melody": {**_MUSIC, "num_chroma": 4, "chroma_length": 8},
    "phi4_multimodal": {
        "vision_config": {**VISION, "crop_size": 28},
        "audio_config": {
            "hidden_size": 32, "intermediate_size": 48, "num_blocks": 1, "num_attention_heads": 2,
            "ext_pw_out_channel": 32, "depthwise_separable_out_channel": 32, "bias_max_distance": 8,
            "nemo_conv_channels": 32, "input_size": 16, "time_reduction": 4,
        },
    },
    "prophetnet": {"num_encoder_layers": 2, "num_decoder_layers": 2, "ngram": 2},
    "qwen3_5": {"text_config": "qwen3_5_text", "vision_config": _PATCHES},
    "qwen3_5_moe": {"text_config": "qwen3_5_moe_text", "vision_config": _PATCHES},
    "qwen4_exp": {"text_config": "qwen4_exp_text", "vision_config": _PATCHES},
    "reformer": {
        "is_decoder": True, "attn_layers": ["local", "lsh"], "axial_pos_shape": [8, 8], "attention_head_size": 16,
        "axial_pos_embds_dim": [16, 48], "feed_forward_size": 96, "num_buckets": 4, "hash_seed": 0,
        "local_attn_chunk_length": 16, "lsh_attn_chunk_length": 16,
    },
    "roc_bert": {
        "pronunciation_embed_dim": 16, "pronunciation_vocab_size": 260, "shape_embed_dim": 16, "shape_vocab_size": 260,
    },
    "zamba": {
        "num_hidden_layers": 3, "layers_block_type": ["linear_attention", "hybrid", "hybrid"],
        "num_key_value_heads": 4, "attention_head_dim": 32, "mamba_dt_rank": 4,
    },
    "zamba2": {
        "num_hidden_layers": 3, "layers_block_type": ["linear_attention", "hybrid", "hybrid"],
        "num_key_value_heads": 4, "adapter_rank": 8, "n_mamba_heads": 4, "chunk_size": 16,
    },
    "zaya": {"num_experts_per_tok": 1, "router_hidden_size": 16},
}  # fmt: skip
MODEL_TYPES = tuple(sorted(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES))


def tiny_config(model_type: str) -> Any:
    """Return a configuration of the family with small sizes.

    The text part of a model of several parts is the tiny configuration of the family that `SPECIAL` names.
    """
    kind, special = transformers.CONFIG_MAPPING[model_type], SPECIAL.get(model_type, {})
    if "text_encoder" in special:
        return kind(**special)
    if "text_config" in special:
        text = special["text_config"]
        return kind(**special | {"text_config": tiny_config(text) if isinstance(text, str) else text})
    usual = kind()
    small = {name: value for name, value in SMALL.items() if _is_set(usual, name)}
    config = kind(**small | special)
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
    kind = _saved_class(config)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with torch.device("meta"):
            count = sum(p.numel() for p in kind.from_config(config).parameters())
        if count > most_parameters:
            raise ValueError(f"{count} parameters")
        torch.manual_seed(0)
        model = kind.from_config(config)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim == 1:
                parameter.add_(0.1 * torch.randn_like(parameter))
            elif parameter.ndim < 4 and "emb" not in name and "wte" not in name:
                parameter.normal_(0, parameter.shape[-1] ** -0.5)
    model.eval().save_pretrained(folder)
    save_tokenizer(folder)
    return model


def _saved_class(config: Any) -> Any:
    """Return the class whose models stand in the checkpoints of a family: the whole, where text is a part of it."""
    wholes = (transformers.AutoModelForTextToWaveform, transformers.AutoModelForImageTextToText)
    return next((kind for kind in wholes if type(config) in kind._model_mapping), transformers.AutoModelForCausalLM)


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
