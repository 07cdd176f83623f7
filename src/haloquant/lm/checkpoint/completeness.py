"""Check that a checkpoint holds every tensor of its model.

When transformers loads a model, it reports missing tensors. A model that is quantized layer by layer without
calibration is never loaded by transformers, so this module checks it.
"""

from haloquant.errors import CheckpointError
from haloquant.lm.checkpoint.architectures import block_list, is_foreign, is_own, split_block
from haloquant.lm.checkpoint.reader import Checkpoint
from haloquant.lm.checkpoint.safetensors import check_finite, check_readable

EMBEDDINGS = ("embed_tokens.weight", "wte.weight", "embed_in.weight")  # names in the known families

# Buffers that transformers computes itself; a checkpoint may lack them.
COMPUTED_TENSORS = ("rotary_emb.inv_freq", "attn.bias", "attn.masked_bias", "attention.bias", "attention.masked_bias")


def check_complete(checkpoint: Checkpoint) -> None:
    """Refuse a checkpoint that lacks a part of its model, or holds NaN or infinity outside its linear layers.

    The values of the linear layers are checked when they are read. Towers for images and sound are only copied; some
    hold infinity for an input that is not clipped.

    Raises:
        CheckpointError: As `check_names`; or a value is NaN or infinite.
    """
    check_names(checkpoint)
    layers = {layer.tensor for layer in checkpoint.layers}
    for name, tensor in checkpoint.tensors.items():
        if name not in layers and tensor.readable and not is_foreign(name):
            check_finite(tensor)


def check_names(checkpoint: Checkpoint) -> None:
    """Refuse a checkpoint that lacks a part of its model. No value is read.

    Every block that config.json counts must be present. In known families all blocks are alike, so each block must hold
    the same tensors in the same shapes as the others, and there must be an embedding.

    Raises:
        CheckpointError: Something is missing, or of another shape than in the other blocks; or a layer is stored in a
            type that is not read.
    """
    own = next((block_list(layer.name) for layer in checkpoint.layers if layer.block is not None), None)
    blocks: dict[int, dict[str, str]] = {}  # for each block: name within the block -> full name
    kind = checkpoint.architecture.model_type
    for name in checkpoint.tensors:
        if block_list(name) == own and (place := split_block(name)) is not None:
            blocks.setdefault(place[0], {})[place[1]] = name
    count = checkpoint.architecture.blocks
    for block in range(count):
        if block not in blocks:
            raise CheckpointError(
                f"{checkpoint.folder} must hold {count} decoder blocks, as config.json says, but holds nothing of "
                f"block {block}; a shard is missing, or the configuration is of another model"
            )
    if checkpoint.architecture.known:
        own_names = {n: {x: name for x, name in block.items() if is_own(x, kind)} for n, block in blocks.items()}
        _check_alike(checkpoint, own_names)
        if not any(name.endswith(EMBEDDINGS) for name in checkpoint.tensors):
            raise CheckpointError(
                f"{checkpoint.folder} must hold the embedding of its tokens (a tensor like {EMBEDDINGS[0]}), but does "
                "not; a shard is missing"
            )
    _check_head(checkpoint)
    for layer in checkpoint.layers:
        check_readable(checkpoint.tensors[layer.tensor])


def shared_layers(checkpoint: Checkpoint) -> tuple[str, ...]:
    """Return the tensors of blocks that share the bytes of another tensor; they are copied and not quantized."""
    return tuple(name for name in checkpoint.shared if split_block(name) is not None)


def _check_head(checkpoint: Checkpoint) -> None:
    """Refuse a checkpoint without an output head whose configuration says that the head is no copy of the embedding."""
    found = checkpoint.architecture
    if not found.says_untied:
        return
    rows = [
        tensor.shape[0]
        for name, tensor in checkpoint.tensors.items()
        if split_block(name) is None and not is_foreign(name) and len(tensor.shape) == 2
    ]
    if rows and max(rows) < found.vocabulary:
        raise CheckpointError(
            f"{checkpoint.folder} must hold an embedding of {found.vocabulary} tokens, as config.json says "
            f"(vocab_size), but its largest table has {max(rows)} rows; give the config.json of these tensors"
        )
    if sum(count >= found.vocabulary for count in rows) < 2:
        raise CheckpointError(
            f"{checkpoint.folder} must hold the output head (a tensor such as lm_head.weight), as config.json says "
            "that it is no copy of the embedding (tie_word_embeddings is false), but does not; set tie_word_embeddings "
            "to true if the head is the embedding, or download the missing shard"
        )


def _check_alike(checkpoint: Checkpoint, blocks: dict[int, dict[str, str]]) -> None:
    first: dict[str, str] = {}
    for number in range(checkpoint.architecture.blocks):
        first = blocks[number] | first
    for inner, example in first.items():
        alike: dict[tuple[int, ...], list[str]] = {}  # the tensors of all blocks by their shape
        for number in range(checkpoint.architecture.blocks):
            name = blocks[number].get(inner)
            if name is None:
                raise CheckpointError(
                    f"{checkpoint.folder} must hold {inner} in block {number}, as in others ({example}), but does not; "
                    "a shard is missing or was saved in part"
                )
            alike.setdefault(tuple(checkpoint.tensors[name].shape), []).append(name)
        if len(alike) > 1:
            raise _unlike(checkpoint, alike)


def _unlike(checkpoint: Checkpoint, alike: dict[tuple[int, ...], list[str]]) -> CheckpointError:
    """Return the error of tensors of different shapes: which is wrong is known only where others outnumber it."""
    (usual, many), *others = sorted(alike.items(), key=lambda item: -len(item[1]))
    odd, few = others[0]
    if len(many) > len(few):
        what = f"tensor {few[0]} must be {list(usual)}, as {many[0]} is, not {list(odd)}"
    else:
        what = f"tensors {many[0]} and {few[0]} must have one shape, not {list(usual)} and {list(odd)}"
    return CheckpointError(f"{checkpoint.folder}: {what}")
