"""Whether a checkpoint is all of its model: what a quantized copy of it would otherwise carry on, looking whole.

Where a model is loaded by transformers, that says what is missing. Layer by layer and without calibration nobody does.
"""

from haloquant.errors import CheckpointError
from haloquant.lm.checkpoint.architectures import split_block
from haloquant.lm.checkpoint.reader import Checkpoint
from haloquant.lm.checkpoint.safetensors import READABLE, check_finite

EMBEDDINGS = ("embed_tokens.weight", "wte.weight", "embed_in.weight")  # of the known families


def check_whole(checkpoint: Checkpoint) -> None:
    """Refuse a checkpoint that lacks a part of its model, or whose tensors beside the layers are no numbers.

    Every block that config.json counts must be there. In families that are known all blocks are alike, so each must
    hold what the others hold, in the same shapes, and there must be an embedding. The layers' own values are checked
    when they are read.

    Raises:
        CheckpointError: something is missing, of another shape than in the other blocks, NaN or infinite.
    """
    blocks: dict[int, dict[str, str]] = {}  # tensors of each block: the name within it, the whole name
    for name in checkpoint.tensors:
        if (place := split_block(name)) is not None:
            blocks.setdefault(place[0], {})[place[1]] = name
    count = checkpoint.architecture.blocks
    for block in range(count):
        if block not in blocks:
            raise CheckpointError(
                f"{checkpoint.folder} must hold {count} decoder blocks, as config.json says, but holds nothing of "
                f"block {block}; a shard is missing, or the configuration is of another model"
            )
    if checkpoint.architecture.known:
        _check_alike(checkpoint, blocks)
        if not any(name.endswith(EMBEDDINGS) for name in checkpoint.tensors):
            raise CheckpointError(
                f"{checkpoint.folder} must hold the embedding of its tokens (a tensor like {EMBEDDINGS[0]}), but does "
                "not; a shard is missing"
            )
    layers = {layer.tensor for layer in checkpoint.layers}
    for name, tensor in checkpoint.tensors.items():
        if name not in layers and tensor.dtype in READABLE:
            check_finite(tensor)


def shared_layers(checkpoint: Checkpoint) -> tuple[str, ...]:
    """Tensors of blocks that share the bytes of another and are copied as they are: it alone is quantized."""
    return tuple(name for name in checkpoint.shared if split_block(name) is not None)


def _check_alike(checkpoint: Checkpoint, blocks: dict[int, dict[str, str]]) -> None:
    first: dict[str, str] = {}
    for block in blocks.values():
        first = block | first
    for number in range(checkpoint.architecture.blocks):
        for inner, example in first.items():
            name = blocks[number].get(inner)
            if name is None:
                raise CheckpointError(
                    f"{checkpoint.folder} must hold {inner} in block {number}, as in others ({example}), but does not; "
                    "a shard is missing or was saved in part"
                )
            shapes = [list(checkpoint.tensors[x].shape) for x in (example, name)]
            if shapes[0] != shapes[1]:
                raise CheckpointError(
                    f"{checkpoint.folder}: tensor {name} must be {shapes[0]}, as {example} is, not {shapes[1]}"
                )
