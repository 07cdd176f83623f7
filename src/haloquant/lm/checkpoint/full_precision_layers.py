"""The matrices of a checkpoint that stay in full precision, each with the reason, and sentences about them."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from haloquant.lm.checkpoint.architectures import block_list, is_foreign, is_router, split_block
from haloquant.lm.checkpoint.completeness import shared_layers
from haloquant.lm.checkpoint.linear_layers import is_read_directly
from haloquant.lm.checkpoint.reader import Checkpoint

_EMBEDDING = re.compile(r"embed|\bwte\b|\bwpe\b|norm|\bln_|relative_attention_bias")
SHOWN = 3  # kinds of names that a sentence shows


@dataclass(frozen=True)
class LeftLayer:
    """A matrix that stays in full precision, by the name of its module, and the reason."""

    name: str
    reason: str


def left_layers(checkpoint: Checkpoint) -> tuple[LeftLayer, ...]:
    """Return the matrices of a checkpoint that are not quantized, except embeddings, in the order of their reasons."""
    found = [
        LeftLayer(x.name, "excluded by a pattern" if x.block is not None else "the output head")
        for x in checkpoint.unchosen
    ]
    for tensor in checkpoint.others:
        name = tensor.removesuffix(".weight")
        if not _EMBEDDING.search(name) or is_foreign(name):
            found.append(LeftLayer(name, _reason(checkpoint, name)))
    found += [
        LeftLayer(name.removesuffix(".weight"), f"shares the bytes of {other}")
        for name, other in ((name, checkpoint.shared[name]) for name in shared_layers(checkpoint))
    ]
    order = {reason: number for number, reason in enumerate(dict.fromkeys(x.reason for x in found))}
    return tuple(sorted(found, key=lambda x: order[x.reason]))


def left_notes(left: Sequence[LeftLayer]) -> tuple[str, ...]:
    """Return one sentence for each reason: how many matrices stay in full precision for it, and their names."""
    reasons: dict[str, list[str]] = {}
    for layer in left:
        reasons.setdefault(layer.reason, []).append(layer.name)
    notes: list[str] = []
    for reason, names in reasons.items():
        notes.append(f"{len(names)} left in full precision, {reason}: {name_kinds(names)}")
    return tuple(notes)


def name_kinds(names: Sequence[str]) -> str:
    """Return the names of layers with `*` for the number of a block, the first few kinds with their counts."""
    kinds: dict[str, int] = {}
    for name in names:
        kind = re.sub(r"(?<=\.)\d+(?=\.|$)", "*", name) if len(names) > 1 else name
        kinds[kind] = kinds.get(kind, 0) + 1
    shown = [f"{kind} ({count})" if count > 1 else kind for kind, count in list(kinds.items())[:SHOWN]]
    return ", ".join(shown) + (f" and {len(kinds) - SHOWN} more kinds" if len(kinds) > SHOWN else "")


def _reason(checkpoint: Checkpoint, name: str) -> str:
    placed = split_block(name)
    if is_foreign(name):
        return "not in the decoder of text"
    if placed is None or block_list(name) != block_list(checkpoint.layers[0].name):
        return "outside the decoder blocks"
    if placed[0] >= checkpoint.architecture.blocks:
        return f"behind the last of {checkpoint.architecture.blocks} blocks"
    if is_read_directly(checkpoint.architecture.model_type, name):
        return "its weight is read by the model's own code"
    return "routers and gates of experts" if is_router(name) else "not a plain linear layer"
