"""Read a decoder's configuration, and derive from tensor names in which order its linear layers run.

A checkpoint holds named tensors. This module maps each name to a role: it says which 2-D tensors are linear layers of a
decoder block, and in which order they run. Layers of one role read the same input and may run in any order. For known
model families the order is exact; for other decoders it is derived from names that decoders commonly use.
"""

import re
from dataclasses import dataclass
from pathlib import Path

import msgspec

from haloquant.errors import MALFORMED, CheckpointError
from haloquant.records.layer_names import BLOCK_LAYERS
from haloquant.store.atomic_files import read_bounded

MAX_CONFIG_BYTES = 4 << 20


@dataclass(frozen=True)
class Architecture:
    """The part of a `config.json` that this package needs. `known` is False where the layer order was inferred."""

    model_type: str
    hidden_size: int
    intermediate_size: int
    blocks: int
    heads: int
    kv_heads: int
    head_dim: int
    vocabulary: int
    max_positions: int | None
    tied_embeddings: bool
    known: bool
    transposed: bool  # Conv1D: the weight is stored [in, out]


@dataclass(frozen=True, slots=True)
class Place:
    """When a layer runs: number of its block, position of its role in the block, and number of its expert, if any."""

    block: int
    role: int
    expert: int | None = None


# Any other decoder: common names for each role, tried in this order on the part of the name within the block.
_GENERIC = (
    r".*\b(q|k|v|qkv|query|key|value|query_key_value|c_attn|Wqkv|W_pack|in_proj|q_a|kv_a|wq|wk|wv)(_proj|_proj_with_mqa)?",
    r".*\b(q_b|kv_b)_proj",
    r"(.*\b(o_proj|out_proj|Wo|wo))|(.*att.*\b(dense|c_proj|proj|o))",
    r".*\b(gate_proj|up_proj|gate_up_proj|fc1|fc_in|c_fc|w1|w3|dense_h_to_4h|lin1|linear1|up|gate|wi|wi_0|wi_1)",
    r".*\b(down_proj|fc2|fc_out|c_proj|w2|dense_4h_to_h|lin2|linear2|down|wo|proj)",
)
# Names that are never linear layers of the decoder, for any shape.
_NEVER = re.compile(
    r"norm|embed|\bln_|layernorm|rotary|\bwpe\b|\bwte\b|router|conv|vision|\bA_log\b|(^|\.)gate$|shared_expert_gate$"
)
_BLOCK = re.compile(r"^(?:[\w.]*?\.)?(?:layers|h|blocks|block|layer)\.(\d+)\.(.+)$")
_EXPERT = re.compile(r"\bexperts\.(\d+)\.")


class _Config(msgspec.Struct):
    """The part of config.json that is read. The same quantity has different names in different families."""

    model_type: str = ""
    hidden_size: int | None = None
    n_embd: int | None = None
    intermediate_size: int | None = None
    ffn_dim: int | None = None
    n_inner: int | None = None
    num_hidden_layers: int | None = None
    n_layer: int | None = None
    num_attention_heads: int | None = None
    n_head: int | None = None
    num_key_value_heads: int | None = None
    head_dim: int | None = None
    vocab_size: int | None = None
    max_position_embeddings: int | None = None
    n_positions: int | None = None
    tie_word_embeddings: bool | None = None
    is_encoder_decoder: bool = False
    quantization_config: dict[str, msgspec.Raw] | None = None


# Families whose configuration in transformers ties the embeddings by default.
_TIED_BY_DEFAULT = frozenset({"gpt2", "opt", "gemma", "gemma2"})


def read_architecture(folder: Path) -> Architecture:
    """Read `folder/config.json`.

    Raises:
        CheckpointError: the file is missing, is not JSON or lacks a size, or it describes an encoder-decoder or a model
            that is quantized already.
    """
    path = folder / "config.json"
    text = read_bounded(path, MAX_CONFIG_BYTES, "a model folder must hold config.json", CheckpointError)
    try:
        config = msgspec.json.decode(text, type=_Config)
    except MALFORMED as error:
        raise CheckpointError(f"{path} must be the JSON configuration of a model, but: {error}") from error
    if config.is_encoder_decoder:
        raise CheckpointError(f"{path} must describe a decoder, not the encoder-decoder {config.model_type!r}")
    if config.quantization_config is not None:
        raise CheckpointError(
            f"{path} must describe a full-precision model, not one that is quantized already "
            "(it has a quantization_config); give the original checkpoint"
        )
    hidden = _first(path, "hidden_size", config.hidden_size, config.n_embd)
    heads = _first(path, "num_attention_heads", config.num_attention_heads, config.n_head)
    tied = config.tie_word_embeddings
    return Architecture(
        model_type=config.model_type,
        hidden_size=hidden,
        intermediate_size=config.intermediate_size or config.ffn_dim or config.n_inner or 4 * hidden,
        blocks=_first(path, "num_hidden_layers", config.num_hidden_layers, config.n_layer),
        heads=heads,
        kv_heads=config.num_key_value_heads or heads,
        head_dim=config.head_dim or hidden // heads,
        vocabulary=_first(path, "vocab_size", config.vocab_size),
        max_positions=config.max_position_embeddings or config.n_positions,
        tied_embeddings=config.model_type in _TIED_BY_DEFAULT if tied is None else tied,
        known=config.model_type in BLOCK_LAYERS,
        transposed=config.model_type == "gpt2",
    )


def _first(path: Path, name: str, *values: int | None) -> int:
    for value in values:
        if value is not None and value > 0:
            return value
    raise CheckpointError(f"{path} must give a positive {name}, not {values[0]}")


def split_block(name: str) -> tuple[int, str] | None:
    """Return the number of the decoder block in a tensor's name and the name within it; None outside the blocks."""
    match = _BLOCK.match(name)
    return None if match is None else (int(match[1]), match[2])


def place_linear(module: str, model_type: str) -> Place | None:
    """Return when a module runs; None if it is not a linear layer of a block.

    Args:
        module: name of the module: a tensor's name without `.weight`.
        model_type: the model family, as config.json names it.

    Returns:
        The place. In an unknown family the role comes from common names, and a layer with an unknown name runs last in
        its block.
    """
    placed = split_block(module)
    if placed is None or _NEVER.search(module):
        return None
    block, inner = placed
    expert = _EXPERT.search(inner)
    number = int(expert[1]) if expert else None
    roles = BLOCK_LAYERS[model_type].roles if model_type in BLOCK_LAYERS else ()
    for role, names in enumerate(roles):
        if inner in names:
            return Place(block, role, number)
    offset = len(roles)
    for role, pattern in enumerate(_GENERIC):
        if re.fullmatch(pattern, inner):
            return Place(block, offset + role, number)
    return Place(block, offset + len(_GENERIC), number)
