"""Small GGUF files: a model that transformers saved, changed as llama.cpp's converter changes it."""

from pathlib import Path
from typing import Any

import numpy as np

ARCHITECTURE = {
    "gemma3_text": "gemma3", "mistral": "llama", "mixtral": "llama", "qwen2_moe": "qwen2moe", "qwen3_moe": "qwen3moe",
}  # fmt: skip
WITH_WIDTH = ("qwen3", "qwen3moe", "gemma", "gemma2", "gemma3")  # families whose files give the width of a head
EPSILONS = ("layer_norm_epsilon", "norm_epsilon", "layer_norm_eps", "norm_eps")
# K-quants and others that the gguf package de-quantizes but does not quantize: their float16 scales, as byte offsets.
SCALES = {"Q2_K": (80, 82), "Q3_K": (108,), "Q4_K": (0, 2), "Q5_K": (0, 2), "Q6_K": (208,), "IQ4_XS": (0,)}


def encode(weight: np.ndarray, kind: str, seed: int = 0) -> np.ndarray:
    """Return a weight in a type of GGUF; K-quants are random codes with small scales, of the same shape."""
    import gguf

    number = gguf.GGMLQuantizationType[kind]
    if kind not in SCALES:
        return gguf.quants.quantize(np.ascontiguousarray(weight, np.float32), number)
    block, size = gguf.GGML_QUANT_SIZES[number]
    rows, cols = weight.shape
    rng = np.random.default_rng(seed)
    blocks = rng.integers(0, 256, (rows * cols // block, size)).astype(np.uint8)
    for offset in SCALES[kind]:
        scale = rng.uniform(1e-4, 1e-3, len(blocks)).astype(np.float16)
        blocks[:, offset : offset + 2] = scale.view(np.uint8).reshape(-1, 2)
    return blocks.reshape(rows, cols // block * size)


def convert(
    folder: Path,
    file: Path,
    kind: str = "F32",
    *,
    drop: str = "",
    tokens: int | None = None,
    parts_tensors: int = 0,
    **more: Any,
) -> Path:
    """Write the model of a Hugging Face folder as a GGUF file.

    Args:
        folder: the model.
        file: the GGUF file.
        kind: type of the matrices; norms and biases are F32, as llama.cpp has them.
        drop: name of a tensor to leave out.
        tokens: number of tokens of a byte-level tokenizer; the vocabulary of the model where None, no tokenizer for 0.
        parts_tensors: most tensors in a file of a split model; 0 for one file.
        more: metadata of the family in place of the right ones.
    """
    import gguf
    from transformers import AutoConfig, AutoModelForCausalLM

    config: Any = AutoConfig.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype="float32")
    state = model.state_dict()
    family = ARCHITECTURE.get(config.model_type, config.model_type)
    kinds = {name: number for number, name in gguf.MODEL_ARCH_NAMES.items()}
    writer = gguf.GGUFWriter(file, family, split_max_tensors=parts_tensors)
    for name, value in (_metadata(config, family) | more).items():
        kinds_of_value = {float: writer.add_float32, int: writer.add_uint32, str: writer.add_string}
        kinds_of_value[type(value)](f"{family}.{name}", value)
    if tokens != 0:
        _add_tokenizer(writer, tokens or config.vocab_size)
    names = gguf.get_tensor_name_map(kinds[family], config.num_hidden_layers)
    for name, tensor in state.items():
        if name == "lm_head.weight" and config.tie_word_embeddings:
            continue
        for stored, weight in _stored(name, tensor.numpy(), names):
            weight = change(weight, stored, family, config)
            if stored == drop:
                continue
            _add(writer, stored, weight, kind)
    if (getattr(config, "rope_parameters", None) or {}).get("rope_type") == "llama3":
        scaled = model.model.rotary_emb.inv_freq.numpy()
        plain = config.rope_parameters["rope_theta"] ** -(np.arange(len(scaled)) / len(scaled))
        writer.add_tensor("rope_freqs.weight", (plain / scaled).astype(np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return file


def _stored(name: str, weight: np.ndarray, names: Any) -> list[tuple[str, np.ndarray]]:
    """Return the names in the file of a parameter, with their values; gate and up of experts are two tensors there."""
    module, _, suffix = name.rpartition(".")
    if suffix == "down_proj":
        return [(f"{names.get_name(module.removesuffix('.experts') + '.gate')[:-9]}_down_exps.weight", weight)]
    if suffix == "gate_up_proj":
        start = names.get_name(module.removesuffix(".experts") + ".gate")[:-9]
        gate, up = np.split(weight, 2, axis=1)
        return [(f"{start}_gate_exps.weight", gate), (f"{start}_up_exps.weight", up)]
    stored = names.get_name(module) or names.get_name(module.partition(".")[2])
    return [(f"{stored}.{suffix}", weight)]


def _add(writer: Any, stored: str, weight: np.ndarray, kind: str) -> None:
    import gguf

    if weight.ndim == 1 or stored == "position_embd.weight" or "gate_inp" in stored:
        writer.add_tensor(stored, weight)
    else:
        writer.add_tensor(stored, encode(weight, kind), raw_dtype=gguf.GGMLQuantizationType[kind])


def change(weight: np.ndarray, stored: str, family: str, config: Any) -> np.ndarray:
    """Return a tensor as llama.cpp's converter writes it."""
    if family == "llama" and (".attn_q." in stored or ".attn_k." in stored):
        heads = config.num_attention_heads if ".attn_q." in stored else config.num_key_value_heads
        split = weight.reshape(heads, 2, weight.shape[0] // heads // 2, *weight.shape[1:])
        return np.ascontiguousarray(split.swapaxes(1, 2).reshape(weight.shape))
    if family in ("bloom", "falcon") and ".attn_qkv." in stored:
        # for each key head: the rows of its queries, its key, its value; the file has all queries first
        heads = config.num_attention_heads
        groups = heads if family == "bloom" else config.num_kv_heads if config.new_decoder_architecture else 1
        rows = weight.reshape(groups, heads // groups + 2, -1, *weight.shape[1:])
        return np.concatenate(
            [part.reshape(-1, *weight.shape[1:]) for part in (rows[:, :-2], rows[:, -2], rows[:, -1])]
        )
    if stored.endswith("ffn_gate_inp_shexp.weight"):
        return weight[0]
    if family in ("gemma", "gemma2", "gemma3", "nemotron") and stored.endswith("norm.weight"):
        return weight + 1
    if family == "gpt2" and weight.ndim == 2 and stored.startswith("blk."):
        return np.ascontiguousarray(weight.T)
    return weight


def _metadata(config: Any, family: str) -> dict[str, Any]:
    given = {
        "block_count": config.num_hidden_layers,
        "context_length": getattr(config, "max_position_embeddings", 64),
        "embedding_length": config.hidden_size,
        "attention.head_count": config.num_attention_heads,
        "feed_forward_length": getattr(config, "intermediate_size", None) or 4 * config.hidden_size,
        "attention.head_count_kv": getattr(config, "num_key_value_heads", None),
        "attention.key_length": getattr(config, "head_dim", None) if family in WITH_WIDTH else None,
        "expert_count": getattr(config, "num_local_experts", None) or getattr(config, "num_experts", None),
        "expert_used_count": getattr(config, "num_experts_per_tok", None),
        "expert_feed_forward_length": getattr(config, "moe_intermediate_size", None),
        "vocab_size": config.vocab_size if family not in ("gpt2", "starcoder2") else None,
    }
    if family == "falcon":
        given["attention.head_count_kv"] = config.num_kv_heads if config.new_decoder_architecture else 1
    rms = getattr(config, "rms_norm_eps", None)
    plain = next((getattr(config, name) for name in EPSILONS if hasattr(config, name)), None)
    kind = "rms_" if rms is not None or family == "nemotron" else ""
    given[f"attention.layer_norm_{kind}epsilon"] = float(rms or plain)
    rope = getattr(config, "rope_parameters", None)
    if rope:
        if "sliding_attention" in rope:
            given["rope.freq_base_swa"] = float(rope["sliding_attention"]["rope_theta"])
        rope = rope.get("full_attention", rope)  # Gemma 3 has parameters by kind of layer
        given["rope.freq_base"] = float(rope.get("rope_theta", 10000.0))
        head = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
        given["rope.dimension_count"] = int(head * rope.get("partial_rotary_factor", 1.0))
        if rope.get("rope_type") == "linear":
            given |= {"rope.scaling.type": "linear", "rope.scaling.factor": float(rope["factor"])}
        elif rope.get("rope_type") == "yarn":
            given |= {
                "rope.scaling.type": "yarn",
                "rope.scaling.factor": float(rope["factor"]),
                "rope.scaling.original_context_length": rope["original_max_position_embeddings"],
                "rope.scaling.yarn_beta_fast": float(rope["beta_fast"]),
                "rope.scaling.yarn_beta_slow": float(rope["beta_slow"]),
            }
    return {name: value for name, value in given.items() if value is not None}


def _add_tokenizer(writer: Any, count: int) -> None:
    from transformers.convert_slow_tokenizer import bytes_to_unicode

    letters = sorted(bytes_to_unicode().values())
    special = ["<s>", "</s>", "<pad>"]
    tokens = [*special, *letters, "th"][:count]
    tokens += [f"[unused{i}]" for i in range(count - len(tokens))]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(tokens)
    writer.add_token_types([3 if i < len(special) else 1 for i in range(count)])
    writer.add_token_merges(["t h"])
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(1)
