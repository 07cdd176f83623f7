"""Read a decoder's configuration, and derive from tensor names in which order its linear layers run.

A checkpoint holds named tensors. This module maps each name to a role: it says which 2-D tensors are linear layers of a
decoder block, and in which order they run. Layers of one role read the same input and may run in any order. For known
model families the order is exact; for other decoders it is derived from names that decoders commonly use.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from haloquant.errors import CheckpointError
from haloquant.lm.checkpoint.model_config import (
    BLOCKS,
    HEAD_SIZE,
    HEADS,
    HIDDEN,
    INTERMEDIATE,
    KV_HEADS,
    POSITIONS,
    VOCABULARY,
    Config,
    is_of_several_parts,
    is_quantized,
    read_config,
    text_part,
    whole_number,
)
from haloquant.records.layer_names import BLOCK_LAYERS, ROLE_PATTERNS


@dataclass(frozen=True)
class Architecture:
    """The part of a `config.json` that this package needs. `known` is False where the layer order was inferred.

    A size that config.json does not give is 0, except that `heads` is 1 for a model without attention heads.
    """

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
    several_parts: bool = False  # the decoder is a part of a model that also reads images or sound
    says_untied: bool = False  # config.json itself says that head and embedding are two matrices


@dataclass(frozen=True, slots=True)
class Place:
    """When a layer runs: number of its block, position of its role in the block, and number of its expert, if any."""

    block: int
    role: int
    expert: int | None = None


# Names that are never linear layers of the decoder, for any shape.
_NEVER = re.compile(
    r"norm[^.]*$|embed|\bln_|rotary|\bwpe\b|\bwte\b|router|\bA_log\b|(^|\.)gate$|shared_expert_gate$"
    r"|relative_attention_bias|tid2eid|(^|\.)\w*conv\w*$"
)
_NORM = re.compile(r"norm|(^|\.)ln_")
# Lists of blocks that are not the decoder's own: towers for images and sound, and blocks that draft further tokens.
_FOREIGN = re.compile(
    r"vision|visual|image|audio|speech|\bmtp\b|nextn|draft|depth_decoder|projector|resampler|perceiver|eagle|medusa"
)
_BLOCK = re.compile(r"^((?:[\w.]*?\.)?(?:layers|h|blocks|block|layer))\.(\d+)\.(.+)$")
_EXPERT = re.compile(r"\bexperts\.(\d+)\.")

# Families whose configuration in transformers ties the embeddings by default.
_TIED_BY_DEFAULT = frozenset({"gpt2", "opt", "gemma", "gemma2"})
# Families whose attention sees the tokens behind the one that is predicted, unless config.json says `is_decoder`, or
# what `_SAYS_CAUSAL` names.
_ENCODERS = frozenset(
    {
        "albert", "big_bird", "bert", "bert-generation", "camembert", "convbert", "data2vec-text", "deberta",
        "deberta-v2", "distilbert", "electra", "ernie", "esm", "eurobert", "flaubert", "funnel", "ibert", "layoutlm",
        "layoutlmv3", "longformer", "luke", "megatron-bert", "modernbert", "mobilebert", "mpnet", "mra", "nezha",
        "nomic_bert", "nystromformer", "qdqbert", "reformer", "rembert", "roberta", "roberta-prelayernorm", "roc_bert",
        "roformer", "splinter", "squeezebert", "xlm", "xlm-roberta", "xlm-roberta-xl", "xlnet", "xmod", "yoso",
    }
)  # fmt: skip
_SAYS_CAUSAL = {"xlm": ("causal", True), "flaubert": ("causal", True), "xlnet": ("attn_type", "uni")}

# Ends of the classes of transformers whose head does not predict tokens.
_OTHER_HEADS = ("ForSequenceClassification", "ForTokenClassification", "ForQuestionAnswering")


def read_architecture(folder: Path) -> Architecture:
    """Read `folder/config.json`; see `architecture_of`."""
    path = folder / "config.json"
    return architecture_of(read_config(path), path)


def architecture_of(config: Config, path: Path) -> Architecture:
    """Return the sizes of the decoder that a configuration describes.

    Args:
        config: the configuration.
        path: its file, for error sentences.

    Raises:
        CheckpointError: It describes no model, an encoder, an encoder-decoder or a model that is quantized already.
    """
    inner = text_part(config)
    kind = str(inner.get("model_type") or "")
    _refuse_others(config, inner, path)
    hidden = whole_number(inner, HIDDEN) or 0
    heads = whole_number(inner, HEADS) or 1
    kv_heads = whole_number(inner, KV_HEADS) or (1 if inner.get("multi_query") is True else heads)
    names = ("decoder_layers", *BLOCKS) if inner.get("decoder_layers") else BLOCKS
    if not kind and not hidden and not whole_number(inner, BLOCKS):
        raise CheckpointError(f"{path} must describe a model, but gives no model_type, no hidden_size and no layers")
    for name in names:
        count = inner.get(name)
        if isinstance(count, int) and count < 1:
            raise CheckpointError(f"{path} must give a positive {name}, not {count}")
    tied, several = inner.get("tie_word_embeddings"), is_of_several_parts(config)
    if several and isinstance(config.get("tie_word_embeddings"), bool):
        tied = config["tie_word_embeddings"]  # transformers ties the head of the whole
    return Architecture(
        model_type=kind,
        hidden_size=hidden,
        intermediate_size=whole_number(inner, INTERMEDIATE) or 4 * hidden,
        blocks=whole_number(inner, names) or 0,
        heads=heads,
        kv_heads=kv_heads,
        head_dim=whole_number(inner, HEAD_SIZE) or hidden // heads,
        vocabulary=whole_number(inner, VOCABULARY) or 0,
        max_positions=whole_number(inner, POSITIONS),
        tied_embeddings=tied if isinstance(tied, bool) else kind in _TIED_BY_DEFAULT,
        known=kind in BLOCK_LAYERS,
        transposed=kind in ("gpt2", "openai-gpt"),
        several_parts=several,
        says_untied=tied is False or (tied is None and kind in BLOCK_LAYERS.keys() - _TIED_BY_DEFAULT and not several),
    )


def complete_architecture(
    architecture: Architecture, shapes: Mapping[str, tuple[int, ...]], path: Path
) -> Architecture:
    """Return the architecture with the sizes that config.json lacks taken from the tensors.

    Args:
        architecture: what config.json gives.
        shapes: the shape of every tensor by name.
        path: config.json, for error sentences.

    Raises:
        CheckpointError: Neither the configuration nor the tensors give a size.
    """
    outside = [shape for name, shape in shapes.items() if split_block(name) is None and not is_foreign(name)]
    tables = [shape for shape in outside if len(shape) == 2]
    rows, columns = max(tables, default=(0, 0))
    numbers = [placed[0] for name in shapes if (placed := split_block(name)) is not None and not is_foreign(name)]
    full = replace(
        architecture,
        blocks=architecture.blocks or max(numbers, default=-1) + 1,
        hidden_size=architecture.hidden_size or columns,
        vocabulary=architecture.vocabulary or rows,
    )
    for name, value in (("num_hidden_layers", full.blocks), ("hidden_size", full.hidden_size)):
        if not value:
            raise CheckpointError(f"{path} must give a positive {name}, and the tensors do not show it either")
    if not full.vocabulary:
        raise CheckpointError(f"{path} must give a positive vocab_size, and the tensors do not show it either")
    return full


def _refuse_others(config: Config, inner: Config, path: Path) -> None:
    kind = str(inner.get("model_type") or "")
    if config.get("is_encoder_decoder") is True or inner.get("is_encoder_decoder") is True:
        raise CheckpointError(
            f"{path} must describe a decoder, not the encoder-decoder {str(config.get('model_type') or kind)!r}"
        )
    if is_quantized(config) or is_quantized(inner):
        raise CheckpointError(
            f"{path} must describe a full-precision model, not one that is quantized already "
            "(it has a quantization_config); give the original checkpoint"
        )
    given = config.get("architectures")
    classes = [str(name) for name in given] if isinstance(given, list) else []
    if classes and all(name.endswith(_OTHER_HEADS) for name in classes):
        raise CheckpointError(
            f"{path} must describe a model that predicts tokens, not {classes[0]}, whose head gives classes; give the "
            "causal model that it was made of"
        )
    name, value = _SAYS_CAUSAL.get(kind, ("is_decoder", True))
    sees_later = kind in _ENCODERS and inner.get(name) != value
    if sees_later or (bool(classes) and all(name.endswith("ForMaskedLM") for name in classes)):
        raise CheckpointError(
            f"{path} must describe a decoder, which predicts each token from those before it, not the encoder "
            f"{kind!r}, whose attention sees the token that is to be predicted"
        )


def split_block(name: str) -> tuple[int, str] | None:
    """Return the number of the decoder block in a tensor's name and the name within it; None outside the blocks."""
    match = _BLOCK.match(name)
    return None if match is None else (int(match[2]), match[3])


def block_list(name: str) -> str | None:
    """Return the name of the list of blocks that a tensor belongs to, such as `model.layers`; None outside blocks."""
    match = _BLOCK.match(name)
    return None if match is None else match[1]


def is_foreign(name: str) -> bool:
    """Return whether a tensor belongs to a part beside the decoder: a tower for images or sound, or draft blocks."""
    return _FOREIGN.search(name) is not None


def is_router(module: str) -> bool:
    """Return whether a module chooses experts or scales them: a router or a gate of experts."""
    return re.search(r"router|(^|\.)gate$|shared_expert_gate$", module) is not None


def is_own(inner: str, model_type: str) -> bool:
    """Return whether a tensor, by its name within a block, is a layer or a norm that every block of the family has.

    Args:
        inner: the name within the block, such as `mlp.up_proj.weight`.
        model_type: a family whose layers are known.
    """
    module, _, leaf = inner.rpartition(".")
    if leaf not in ("weight", "bias"):
        return False
    return any(module in names for names in BLOCK_LAYERS[model_type].roles) or bool(_NORM.search(module))


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
    for role, pattern in enumerate(ROLE_PATTERNS):
        if re.fullmatch(pattern, inner):
            return Place(block, offset + role, number)
    return Place(block, offset + len(ROLE_PATTERNS), number)
