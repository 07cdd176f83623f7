"""What llama.cpp's converter changes in a tensor, and how it is undone (its source is convert_hf_to_gguf.py)."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

Change = Literal["none", "rotary", "transposed", "one added", "one row", "queries first"]


@dataclass(frozen=True, slots=True)
class Layout:
    """How a tensor of a GGUF file differs from the same tensor of a Hugging Face checkpoint.

    "rotary": the rows of each of `heads` heads are in the order of interleaved pairs, and transformers has the first
    members of all pairs before the second ones. "transposed": the checkpoint holds [in, out], the file [out, in].
    "one added": the file holds the weight of a norm plus one. "one row": the checkpoint holds a matrix of one row, the
    file a vector. "queries first": the rows are those of all queries, all keys and all values; the checkpoint has, for
    each of `kv_heads` heads, the rows of its queries, its key and its value.
    """

    change: Change = "none"
    heads: int = 0
    kv_heads: int = 0

    def shape(self, stored: tuple[int, ...]) -> tuple[int, ...]:
        """Return the shape in the checkpoint of a tensor that is stored in the shape `stored`."""
        if self.change == "one row":
            return (1, *stored)
        return tuple(reversed(stored)) if self.change == "transposed" else stored

    def undo(self, stored: np.ndarray) -> np.ndarray:
        """Return the values of the checkpoint from those of the file."""
        if self.change == "rotary":
            pairs = stored.shape[0] // self.heads // 2
            return stored.reshape(self.heads, pairs, 2, -1).swapaxes(1, 2).reshape(stored.shape)
        if self.change == "queries first":
            parts = stored.shape[0] // (self.heads + 2 * self.kv_heads)  # rows of a head
            ends = self.heads * parts, (self.heads + self.kv_heads) * parts
            pieces = [piece.reshape(self.kv_heads, -1, *stored.shape[1:]) for piece in np.split(stored, ends)]
            return np.concatenate(pieces, axis=1).reshape(stored.shape)
        if self.change == "transposed":
            return stored.T
        return stored - np.float32(1) if self.change == "one added" else stored


# Families whose converter permutes the rows of queries and keys, or those of all three, and families whose norms are
# stored plus one.
_ROTARY = frozenset({"llama"})
_QUERIES_FIRST = frozenset({"bloom", "falcon"})
_NORM_PLUS_ONE = frozenset({"gemma", "gemma2", "gemma3", "nemotron"})
_CONV1D = ("attn_qkv.weight", "attn_output.weight", "ffn_up.weight", "ffn_down.weight")


def find_layout(architecture: str, name: str, heads: int, kv_heads: int) -> Layout:
    """Return the layout of the tensor `name` in a file of this architecture.

    Args:
        architecture: the model family, as llama.cpp names it.
        name: name of the tensor in the file.
        heads: number of query heads.
        kv_heads: number of key heads.
    """
    if architecture in _ROTARY and ".attn_q." in name:
        return Layout("rotary", heads)
    if architecture in _ROTARY and ".attn_k." in name:
        return Layout("rotary", kv_heads)
    if architecture in _NORM_PLUS_ONE and name.endswith("norm.weight"):
        return Layout("one added")
    if architecture in _QUERIES_FIRST and ".attn_qkv." in name:
        return Layout("queries first", heads, kv_heads)
    if name.endswith(".ffn_gate_inp_shexp.weight"):
        return Layout("one row")
    if architecture == "gpt2" and name.startswith("blk.") and name.endswith(_CONV1D):
        return Layout("transposed")
    return Layout()
