"""Shapes of known models, from which a workload is made without weights.

Source: the models' published config.json (hidden size, feed-forward size, layers, heads, key-value heads, vocabulary,
experts, attention windows). Tests compare the numbers of weights with the published ones.
"""

from collections.abc import Mapping
from typing import Final

from haloquant.accel.workload.decoder_shape import LatentAttention, ModelShape
from haloquant.errors import InputError


def _llama(
    name: str, hidden: int, intermediate: int, layers: int, heads: int, kv_heads: int, vocabulary: int = 32000,
    head_size: int = 0,
) -> ModelShape:  # fmt: skip
    return ModelShape(name, "llama", hidden, intermediate, layers, heads, kv_heads, vocabulary, head_size)


def _opt(name: str, hidden: int, layers: int, heads: int) -> ModelShape:
    return ModelShape(name, "opt", hidden, 4 * hidden, layers, heads, heads, 50272)


def _experts(
    name: str, hidden: int, layers: int, heads: int, kv_heads: int, head_size: int, vocabulary: int, experts: int,
    size: int, per_token: int, window: int = 0,
) -> ModelShape:  # fmt: skip
    """A model with experts in every block; with a window, every second block reads that many tokens."""
    return ModelShape(
        name, "llama", hidden, size, layers, heads, kv_heads, vocabulary, head_size,
        experts_per_token=per_token, experts=experts, expert_size=size,
        windows=tuple(0 if block % 2 else window for block in range(layers)) if window else (),
    )  # fmt: skip


def _gemma3(
    name: str, hidden: int, intermediate: int, layers: int, heads: int, kv_heads: int, head_size: int, window: int,
    vocabulary: int = 262208,
) -> ModelShape:  # fmt: skip
    """Five blocks with a window, then one that reads all tokens."""
    windows = tuple(0 if block % 6 == 5 else window for block in range(layers))
    return ModelShape(
        name, "llama", hidden, intermediate, layers, heads, kv_heads, vocabulary, head_size, windows=windows
    )


_SHAPES: Final = (
    _llama("llama2-7b", 4096, 11008, 32, 32, 32),
    _llama("llama2-13b", 5120, 13824, 40, 40, 40),
    _llama("llama2-70b", 8192, 28672, 80, 64, 8),
    _llama("llama3.1-405b", 16384, 53248, 126, 128, 8, 128256),
    _opt("opt-1.3b", 2048, 24, 32),
    _opt("opt-2.7b", 2560, 32, 32),
    _opt("opt-6.7b", 4096, 32, 32),
    _opt("opt-13b", 5120, 40, 40),
    _opt("opt-30b", 7168, 48, 56),
    _llama("llama3.1-8b", 4096, 14336, 32, 32, 8, 128256),
    _llama("llama3.1-70b", 8192, 28672, 80, 64, 8, 128256),
    _llama("llama3.2-1b", 2048, 8192, 16, 32, 8, 128256, 64),
    _llama("llama3.2-3b", 3072, 8192, 28, 24, 8, 128256, 128),
    _llama("mistral-7b", 4096, 14336, 32, 32, 8, 32768),  # version 0.3, without a window
    _llama("mistral-nemo-12b", 5120, 14336, 40, 32, 8, 131072, 128),
    _llama("mistral-small-24b", 5120, 32768, 40, 32, 8, 131072, 128),
    _experts("mixtral-8x7b", 4096, 32, 32, 8, 128, 32000, 8, 14336, 2),
    _llama("qwen2.5-0.5b", 896, 4864, 24, 14, 2, 151936),
    _llama("qwen2.5-1.5b", 1536, 8960, 28, 12, 2, 151936),
    _llama("qwen2.5-3b", 2048, 11008, 36, 16, 2, 151936),
    _llama("qwen2.5-7b", 3584, 18944, 28, 28, 4, 152064),
    _llama("qwen2.5-14b", 5120, 13824, 48, 40, 8, 152064),
    _llama("qwen2.5-32b", 5120, 27648, 64, 40, 8, 152064),
    _llama("qwen2.5-72b", 8192, 29568, 80, 64, 8, 152064),
    _llama("qwen3-0.6b", 1024, 3072, 28, 16, 8, 151936, 128),
    _llama("qwen3-1.7b", 2048, 6144, 28, 16, 8, 151936, 128),
    _llama("qwen3-4b", 2560, 9728, 36, 32, 8, 151936, 128),
    _llama("qwen3-8b", 4096, 12288, 36, 32, 8, 151936, 128),
    _llama("qwen3-14b", 5120, 17408, 40, 40, 8, 151936, 128),
    _llama("qwen3-32b", 5120, 25600, 64, 64, 8, 151936, 128),
    _experts("qwen3-30b-a3b", 2048, 48, 32, 4, 128, 151936, 128, 768, 8),
    _experts("qwen3-235b-a22b", 4096, 94, 64, 4, 128, 151936, 128, 1536, 8),
    _gemma3("gemma3-1b", 1152, 6912, 26, 4, 1, 256, 512, 262144),
    _gemma3("gemma3-4b", 2560, 10240, 34, 8, 4, 256, 1024),
    _gemma3("gemma3-12b", 3840, 15360, 48, 16, 8, 256, 1024),
    _gemma3("gemma3-27b", 5376, 21504, 62, 32, 16, 128, 1024),
    _llama("phi4", 5120, 17920, 40, 40, 10, 100352),
    _llama("phi4-mini", 3072, 8192, 32, 24, 8, 200064, 128),
    ModelShape(
        "deepseek-v3", "llama", 7168, 18432, 61, 128, 128, 129280, 192, experts_per_token=8, experts=256,
        expert_size=2048, shared_size=2048, dense_blocks=3, latent=LatentAttention(1536, 512, 128, 64, 128),
    ),
    _experts("gpt-oss-20b", 2880, 24, 64, 8, 64, 201088, 32, 2880, 4, 128),
    _experts("gpt-oss-120b", 2880, 36, 64, 8, 64, 201088, 128, 2880, 4, 128),
)  # fmt: skip
MODELS: Final[Mapping[str, ModelShape]] = {shape.name: shape for shape in _SHAPES}


def named_shape(name: str) -> ModelShape:
    """Return a shipped shape.

    Raises:
        InputError: No shape has this name.
    """
    if name.lower() not in MODELS:
        raise InputError(f"model shape must be one of {', '.join(MODELS)}, not {name!r}")
    return MODELS[name.lower()]


def shape_from_config(config: Mapping[str, object], name: str = "model") -> ModelShape:
    """Return the shape that a Hugging Face `config.json` describes: a gated decoder such as Llama or Qwen2, or OPT.

    Raises:
        InputError: A size is missing or not a whole number, or the model is of neither family.
    """
    kind = config.get("model_type")
    if kind == "opt":
        hidden = _whole(config, "hidden_size")
        heads = _whole(config, "num_attention_heads")
        return ModelShape(
            name, "opt", hidden, _whole(config, "ffn_dim"), _whole(config, "num_hidden_layers"), heads, heads,
            _whole(config, "vocab_size"),
        )  # fmt: skip
    if "num_attention_heads" not in config or "intermediate_size" not in config:
        raise InputError(f"model_type of {name} must be opt or a gated decoder like llama, not {kind!r}")
    heads = _whole(config, "num_attention_heads")
    return ModelShape(
        name,
        "llama",
        _whole(config, "hidden_size"),
        _whole(config, "intermediate_size"),
        _whole(config, "num_hidden_layers"),
        heads,
        heads if config.get("num_key_value_heads") is None else _whole(config, "num_key_value_heads"),
        _whole(config, "vocab_size"),
        0 if config.get("head_dim") is None else _whole(config, "head_dim"),
    )


def _whole(config: Mapping[str, object], key: str) -> int:
    value = config.get(key)
    if not isinstance(value, int) or isinstance(value, bool):
        raise InputError(f"{key} of the model's config must be a whole number, not {value!r}")
    return value
