"""Make the configuration of transformers for a GGUF file.

transformers reads it from the metadata. What it leaves out (sizes and bases that its own defaults would replace, and
the scaling of positions) is added here from the metadata and the tensors. Gemma 1 and Mixtral, which it does not read,
are made from the metadata alone.
"""

import math
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from haloquant.errors import CheckpointError, MissingExtraError, first_line
from haloquant.lm.checkpoint.gguf.header import GgufHeader
from haloquant.lm.checkpoint.gguf.layout import Layout
from haloquant.lm.checkpoint.gguf.metadata_file import write_metadata
from haloquant.lm.checkpoint.gguf.tensors import gguf_tensor
from haloquant.lm.checkpoint.safetensors import read_float32

FACTORS = "rope_freqs.weight"  # Llama 3.1 and later: what the frequency of each rotary pair is divided by
# Llama 3's other parameters, which a file does not give; llama.cpp's converter has them as defaults.
LLAMA3 = {"low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 8192}
# Names in a configuration that transformers does not read, for some or all families, and where a file holds them.
_NUMBERS = {
    "head_dim": "attention.key_length",
    "sliding_window": "attention.sliding_window",
    "attn_logit_softcapping": "attn_logit_softcapping",
    "final_logit_softcapping": "final_logit_softcapping",
}


# Names in the configurations of families that transformers does not read from GGUF, and where a file holds them.
_SIZES = {
    "hidden_size": "embedding_length",
    "intermediate_size": "feed_forward_length",
    "num_hidden_layers": "block_count",
    "num_attention_heads": "attention.head_count",
    "num_key_value_heads": "attention.head_count_kv",
    "rms_norm_eps": "attention.layer_norm_rms_epsilon",
    "max_position_embeddings": "context_length",
    "num_local_experts": "expert_count",
    "num_experts_per_tok": "expert_used_count",
}
_TOKENS = {
    "bos_token_id": "tokenizer.ggml.bos_token_id",
    "eos_token_id": "tokenizer.ggml.eos_token_id",
    "pad_token_id": "tokenizer.ggml.padding_token_id",
}


_LARGEST = {"gemma2": 46, "gemma3": 62}  # blocks of the model with 27 billion weights


def make_config(header: GgufHeader) -> Any:
    """Return the configuration of transformers for a GGUF file.

    Raises:
        CheckpointError: Transformers cannot build it from the metadata, there are more tokens than rows of the
            embedding, or the positions are scaled in a way that is not read.
        MissingExtraError: Transformers is not installed.
    """
    try:
        from transformers import CONFIG_MAPPING, AutoConfig
        from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES as CLASSES

        from haloquant.lm.quiet_transformers import quiet_transformers
    except ImportError as error:
        raise MissingExtraError("GGUF files need torch and transformers: pip install 'haloquant[gguf]'") from error
    own = _own_family(header)
    with tempfile.TemporaryDirectory(prefix="haloquant-gguf-") as scratch:
        write_metadata(header, Path(scratch) / "header.gguf", partial(_is_small, header), tensors=True)
        try:
            with quiet_transformers():
                if own is None:
                    config = AutoConfig.from_pretrained(scratch, gguf_file="header.gguf", local_files_only=True)
                else:
                    config = CONFIG_MAPPING[own](**_values(header))
                _complete(config, header)
        except Exception as error:  # the library and the package raise whatever a wrong value leads to
            raise CheckpointError(
                f"{header.file} must describe a model of transformers, but: {first_line(error)}"
            ) from error
    tokens = header.metadata.get("tokenizer.ggml.tokens")
    if isinstance(tokens, list) and len(tokens) > config.vocab_size:
        raise CheckpointError(
            f"{header.file} must have a row of its embedding for each of its {len(tokens)} tokens, but has "
            f"{config.vocab_size}; the tokenizer is of another model"
        )
    _scale_positions(config, header)
    config.architectures = [CLASSES[config.model_type]]
    return config


def _own_family(header: GgufHeader) -> str | None:
    """Return the family, as transformers names it, of a model whose configuration transformers does not read."""
    if header.architecture == "llama" and header.number("expert_count"):
        return "mixtral"
    return "gemma" if header.architecture == "gemma" else None


def _values(header: GgufHeader) -> dict[str, Any]:
    """Return the values of a configuration, as far as the metadata give them."""
    found: dict[str, Any] = {name: header.number(key) for name, key in _SIZES.items()}
    found |= {name: header.metadata.get(key) for name, key in _TOKENS.items()}
    return {name: value for name, value in found.items() if value is not None}


def _is_small(header: GgufHeader, name: str) -> bool:
    """Return whether an entry is no list of the tokenizer.

    The reader that transformers uses takes tens of seconds for the lists of tokens.
    """
    return not name.startswith("tokenizer.ggml.") or not isinstance(header.metadata[name], list)


def _complete(config: Any, header: GgufHeader) -> None:
    """Add what transformers does not read from the metadata."""
    tensors = header.tensors
    config.tie_word_embeddings = "output.weight" not in tensors
    if (embedding := tensors.get("token_embd.weight")) is not None:
        config.vocab_size = embedding.shape[0]
        for name in ("bos_token_id", "eos_token_id", "pad_token_id"):  # a family's default may lie beyond
            if isinstance(token := getattr(config, name, None), int) and token >= config.vocab_size:
                setattr(config, name, None)
    _complete_family(config, header)
    for name, key in _NUMBERS.items():
        if (value := header.number(key)) is not None and hasattr(config, name):
            setattr(config, name, value)
    if header.architecture == "llama" and hasattr(config, "sliding_window"):  # the file's title made it a Mistral
        config.sliding_window = header.number("attention.sliding_window")
    if hasattr(config, "attention_bias"):
        config.attention_bias = "blk.0.attn_q.bias" in tensors
    if hasattr(config, "mlp_bias"):
        config.mlp_bias = "blk.0.ffn_up.bias" in tensors
    rope, base = getattr(config, "rope_parameters", None), header.number("rope.freq_base")
    if rope and "rope_theta" in rope and (base is not None or _own_family(header) is not None):
        rope["rope_theta"] = base or 10000.0  # llama.cpp's own default
    width, turned = _head_numbers(config, header)
    if rope and turned is not None and "partial_rotary_factor" in rope:
        rope["partial_rotary_factor"] = turned / width


def _head_numbers(config: Any, header: GgufHeader) -> tuple[int, int | float | None]:
    """Return how many numbers a head has, and how many are turned by their position (None where no file says it)."""
    width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    return int(width), header.number("rope.dimension_count")


def _complete_family(config: Any, header: GgufHeader) -> None:
    """Add the values that single families have under names of their own."""
    tensors, inner = header.tensors, int(header.number("feed_forward_length") or 0) or None
    if header.architecture == "gpt2":
        config.n_positions = int(header.number("context_length") or config.n_positions)
        config.n_inner = inner
    elif header.architecture == "bloom":
        config.seq_length = int(header.number("context_length") or 2048)
    elif header.architecture == "falcon":
        groups = int(header.number("attention.head_count_kv") or config.num_attention_heads)
        twice = "blk.0.attn_norm_2.weight" in tensors
        config.num_kv_heads, config.ffn_hidden_size = groups, inner or config.ffn_hidden_size
        config.multi_query, config.new_decoder_architecture = (
            groups == 1,
            twice or 1 < groups < config.num_attention_heads,
        )
        config.num_ln_in_parallel_attn = 2 if twice else 1
        config.layer_norm_epsilon = header.number("attention.layer_norm_epsilon") or config.layer_norm_epsilon
    elif header.architecture in _LARGEST:
        # No file gives the scale of queries. llama.cpp takes it from the width of a head, except in the largest model.
        width = int(header.number("attention.key_length") or config.head_dim)
        largest = config.num_hidden_layers == _LARGEST[header.architecture]
        config.query_pre_attn_scalar = config.hidden_size // config.num_attention_heads if largest else width
    elif header.architecture in ("qwen2moe", "qwen3moe"):
        blocks = range(config.num_hidden_layers)
        config.mlp_only_layers = [n for n in blocks if f"blk.{n}.ffn_gate_inp.weight" not in tensors]
        for name, part, axis in (
            ("moe_intermediate_size", "ffn_gate_exps", 1),
            ("shared_expert_intermediate_size", "ffn_gate_shexp", 0),
        ):
            found = [t for n in blocks if (t := tensors.get(f"blk.{n}.{part}.weight")) is not None]
            if found and len(found[0].shape) > axis:
                setattr(config, name, found[0].shape[axis])


def _scale_positions(config: Any, header: GgufHeader) -> None:
    """Add the scaling of rotary positions to a configuration.

    Raises:
        CheckpointError: It is of a kind that is not read.
    """
    by_kind = getattr(config, "rope_parameters", None) or {}
    rope = by_kind.get("full_attention", by_kind)  # Gemma 3 has parameters by kind of layer, and scales those of one
    if rope is not by_kind:
        _set_bases(by_kind, header)
    width, turned = _head_numbers(config, header)
    if rope and turned not in (None, width) and "partial_rotary_factor" not in rope:
        raise CheckpointError(
            f"{header.file} must turn all {width} numbers of a head by their position, as this family does in "
            f"transformers, not {turned} (rope.dimension_count); give the original folder of this model"
        )
    kind, factor = header.metadata.get(f"{header.architecture}.rope.scaling.type"), header.number("rope.scaling.factor")
    factor = factor or header.number("rope.scale_linear")  # files of 2023
    if kind is None and factor not in (None, 0, 1):
        kind = "linear"
    if (entry := header.tensors.get(FACTORS)) is not None:
        factors = read_float32(gguf_tensor(entry, FACTORS, Layout()))
        rope |= {"rope_type": "llama3", "factor": float(factors.max()), **LLAMA3}
        if not np.allclose(factors, _llama3_factors(len(factors), rope), rtol=1e-4):
            raise CheckpointError(
                f"{header.file} must scale its positions as Llama 3 does ({FACTORS} of a context of 8192), but does "
                "not; give the original folder of this model"
            )
    elif kind == "linear" and factor:
        rope |= {"rope_type": "linear", "factor": factor}
    elif kind == "yarn" and factor:
        rope |= _yarn(header, factor)
    elif kind not in (None, "none", "linear"):
        what = "by yarn without a factor" if kind == "yarn" else f"by {kind!r:.40}"
        raise CheckpointError(
            f"{header.file} must scale its positions linearly, by yarn or as Llama 3 does, not {what}; give "
            "the original folder of this model"
        )


def _set_bases(by_kind: dict[str, Any], header: GgufHeader) -> None:
    """Set the bases of the positions of each kind of layer, where the file gives them."""
    for kind, name in (("full_attention", "rope.freq_base"), ("sliding_attention", "rope.freq_base_swa")):
        if (base := header.number(name)) is not None and kind in by_kind:
            by_kind[kind]["rope_theta"] = base


def _yarn(header: GgufHeader, factor: float) -> dict[str, Any]:
    """Return the parameters of positions that are scaled by yarn (arXiv 2309.00071)."""
    original = header.number("rope.scaling.original_context_length") or header.number("context_length") or 0
    found: dict[str, Any] = {"rope_type": "yarn", "factor": factor, "original_max_position_embeddings": int(original)}
    betas = {name: header.number(f"rope.scaling.yarn_{name}") for name in ("beta_fast", "beta_slow")}
    return found | {name: value for name, value in betas.items() if value is not None}


def _llama3_factors(pairs: int, rope: dict[str, Any]) -> np.ndarray:
    """Return what the frequency of each pair is divided by (transformers, `_compute_llama3_parameters`)."""
    wavelength = 2 * math.pi * rope["rope_theta"] ** (np.arange(pairs) / pairs)
    turns = rope["original_max_position_embeddings"] / wavelength
    low, high = rope["low_freq_factor"], rope["high_freq_factor"]
    smooth = np.clip((turns - low) / (high - low), 0, 1)
    return 1 / ((1 - smooth) / rope["factor"] + smooth)
