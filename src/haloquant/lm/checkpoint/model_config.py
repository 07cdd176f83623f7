"""Read config.json: the part that describes the decoder, and quantities under the names that families give them.

Families give the same quantity other names (`hidden_size`, `n_embd`, `d_model`). A model of text and images keeps the
sizes of its text part in a section of its own. Python's JSON reader is used, because transformers writes infinity as
the bare word Infinity, which strict JSON does not have.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from haloquant.errors import CheckpointError
from haloquant.lm.checkpoint.config_values import check_values
from haloquant.store.atomic_files import read_bounded

MAX_CONFIG_BYTES = 4 << 20
ADAPTER_CONFIG: Final = "adapter_config.json"

Config = Mapping[str, object]

# Sections that hold the configuration of the text model in a model of several parts, in the order of trial.
TEXT_SECTIONS: Final = ("text_config", "llm_config", "language_config", "thinker_config", "decoder_config", "decoder")
# Sections of the other parts. A configuration that has one of them describes more than text.
OTHER_SECTIONS: Final = (
    "vision_config", "audio_config", "image_config", "speech_config", "audio_encoder", "vision_tower", "visual",
    "audio_tower_config", "encoder", "audio_processor",
)  # fmt: skip

HIDDEN: Final = ("hidden_size", "n_embd", "d_model", "dim_model", "embedding_size", "embed_dim", "model_dim", "dim")
INTERMEDIATE: Final = (
    "intermediate_size", "ffn_dim", "decoder_ffn_dim", "n_inner", "ffn_hidden_size", "dim_ff", "dff", "ffn_config",
)  # fmt: skip
BLOCKS: Final = ("num_layers_per_stack", "num_hidden_layers", "n_layer", "n_layers", "num_layers", "num_blocks")
HEADS: Final = ("num_attention_heads", "n_head", "n_heads", "num_heads", "attention_heads", "decoder_attention_heads")
KV_HEADS: Final = ("num_key_value_heads", "num_kv_heads", "n_head_kv", "kv_n_heads")
HEAD_SIZE: Final = ("head_dim", "dim_head", "kv_channels")
VOCABULARY: Final = ("vocab_size", "n_vocab", "padded_vocab_size")
POSITIONS: Final = (
    "max_position_embeddings", "n_positions", "max_seq_len", "max_sequence_length", "seq_length", "n_ctx",
)  # fmt: skip

# Families that number positions from behind the number of the padding token, so that a window has fewer tokens.
_BEHIND_PADDING = frozenset(
    {
        "camembert", "data2vec-text", "prophetnet", "roberta", "roberta-prelayernorm", "xlm-roberta", "xlm-roberta-xl",
        "xmod",
    }
)  # fmt: skip


def read_config(path: Path) -> dict[str, object]:
    """Return config.json as a dictionary.

    Args:
        path: the file, or the model folder that holds it.

    Raises:
        CheckpointError: The file is missing or too large, it is not a JSON object, or a number in it is none that a
            model has (`config_values.check_values`).
    """
    path = path / "config.json" if path.is_dir() else path
    if not path.exists() and path.with_name(ADAPTER_CONFIG).is_file():
        raise CheckpointError(
            f"{path.parent} holds an adapter and no model; copy {ADAPTER_CONFIG} and its weights into the folder of "
            "the model that it was trained on"
        )
    data = read_bounded(path, MAX_CONFIG_BYTES, "a model folder must hold config.json", CheckpointError)
    try:
        config = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path} must be the JSON configuration of a model, but: {error}") from error
    if not isinstance(config, dict):
        raise CheckpointError(
            f"{path} must be the JSON configuration of a model, an object, not {type(config).__name__}"
        )
    check_values(config, path)
    decoder = text_part(config)
    for name in (*HIDDEN, *BLOCKS, *HEADS, *KV_HEADS, *HEAD_SIZE, *VOCABULARY, *POSITIONS):
        count = decoder.get(name)
        if isinstance(count, int) and not isinstance(count, bool) and count < 1:
            raise CheckpointError(f"{path} must give a positive {name}, not {count}")
    return config


def text_part(config: Config) -> Config:
    """Return the section that describes the decoder of text: the whole, or a section of a model of several parts.

    The section inherits what only the whole gives, such as `tie_word_embeddings` and `vocab_size`.
    """
    for name in TEXT_SECTIONS:
        section = config.get(name)
        if isinstance(section, Mapping) and section:
            inner = text_part(section)
            outer = {key: value for key, value in config.items() if key not in (*TEXT_SECTIONS, *OTHER_SECTIONS)}
            return {**outer, **inner}
    return config


def is_of_several_parts(config: Config) -> bool:
    """Return whether the configuration describes more than a decoder of text, such as a vision tower."""
    return any(isinstance(config.get(name), Mapping) for name in (*TEXT_SECTIONS, *OTHER_SECTIONS))


def is_quantized(config: Config) -> bool:
    """Return whether a configuration is that of a quantized model; transformers passes over a null."""
    return config.get("quantization_config") is not None


def whole_number(config: Config, names: tuple[str, ...]) -> int | None:
    """Return the first positive whole number that the configuration gives under one of the names; None if none does.

    Raises:
        CheckpointError: A text stands where a number must be.
    """
    for name in names:
        value = config.get(name)
        if isinstance(value, str):
            raise CheckpointError(f"{name} of config.json must be a whole number, not {value!r:.40}")
        if isinstance(value, int) and not isinstance(value, bool) and value > 0:
            return value
    return None


def unused_positions(model_type: object, padding: object) -> int:
    """Return how many of a model's positions no token has, where `padding` is the number of the padding token."""
    first = padding + 1 if isinstance(padding, int) and padding >= 0 else 2  # the default of these families
    ahead = model_type == "prophetnet"  # it also predicts the token behind the next one
    return first + ahead if model_type in _BEHIND_PADDING else 0


def window_tokens(config: Config, most: int) -> int:
    """Return the number of tokens in a window: the decoder's number of positions, at most `most`.

    Raises:
        CheckpointError: The configuration gives a number of positions that is not positive and whole.
    """
    inner = text_part(config)
    given = next((value for name in POSITIONS if (value := inner.get(name))), most)
    if not isinstance(given, int) or isinstance(given, bool) or given < 1:
        raise CheckpointError(f"config.json must give a positive number of positions, not {given!r:.40}")
    return min(max(1, given - unused_positions(inner.get("model_type"), inner.get("pad_token_id"))), most)
