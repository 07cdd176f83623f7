"""Keys and values of one text in memory with room for more tokens, inside the growing cache of transformers."""

from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import torch
from jaxtyping import Float32

from haloquant.kernels.cpu.decoder_parts import append

ROOM = 64  # tokens, besides as many as there are


def bits_or_floats(tensor: torch.Tensor) -> np.ndarray:
    """Return a tensor on the CPU as an array without a copy: float32, or the 16 bits of each bfloat16."""
    plain = tensor.detach()
    return (plain.view(torch.uint16) if plain.dtype is torch.bfloat16 else plain).numpy()


def cached_tokens(cache: Any, blocks: int, dtype: torch.dtype) -> int:
    """Return the number of tokens of a plain growing cache of one text; 0 for any other cache.

    Layers with a sliding window count as growing as long as the next token leaves none out.
    """
    from transformers.cache_utils import DynamicCache, DynamicLayer, DynamicSlidingWindowLayer

    if type(cache) is not DynamicCache or len(cache.layers) != blocks:
        return 0
    tokens = 0
    for each in cache.layers:
        layer: Any = each
        kind = type(layer)
        if kind not in (DynamicLayer, DynamicSlidingWindowLayer) or layer.keys is None or layer.values is None:
            return 0
        keys, values = layer.keys, layer.values
        if keys.dtype is not dtype or values.dtype is not dtype or keys.shape[:3] != values.shape[:3]:
            return 0
        if keys.shape[0] != 1 or keys.device.type != "cpu" or (tokens and keys.shape[2] != tokens):
            return 0
        tokens = int(keys.shape[2])
        if kind is DynamicSlidingWindowLayer and not _is_whole(layer, tokens):
            return 0
    return tokens


def _is_whole(layer: Any, tokens: int) -> bool:
    """Return whether a layer with a sliding window has all tokens so far, and has them all with another one."""
    return not layer.record_past and layer.cumulative_length == tokens and tokens + 2 <= layer.sliding_window


class GrowingCaches:
    """The memory of the layers of caches. It is given up with them."""

    def __init__(self) -> None:
        """Start with none."""
        self._rooms: WeakKeyDictionary[Any, _Room] = WeakKeyDictionary()

    def add(
        self, layer: Any, key: Float32[np.ndarray, "groups head"], value: Float32[np.ndarray, "groups head"]
    ) -> tuple[np.ndarray, np.ndarray, int]:
        """Add the key and the value of a token to a layer of a cache that `cached_tokens` takes.

        Returns:
            All keys and values [groups, tokens or more, head], as `bits_or_floats` gives them, and how many count.
        """
        room = self._rooms.get(layer)
        if room is None or not room.is_of(layer):
            room = self._rooms[layer] = _Room(layer)
        return room.add(layer, key, value)


class _Room:
    """The memory of one layer. The layer gets views of the tokens that there are."""

    def __init__(self, layer: Any) -> None:
        self.keys, self.values = _with_room(layer.keys), _with_room(layer.values)
        self.arrays = bits_or_floats(self.keys)[0], bits_or_floats(self.values)[0]
        self._show(layer, layer.keys.shape[2])

    def is_of(self, layer: Any) -> bool:
        """Return whether the layer has what it was given here, and there is room for another token."""
        keys, values = self.views
        return layer.keys is keys and layer.values is values and self.tokens < self.arrays[0].shape[1]

    def add(self, layer: Any, key: np.ndarray, value: np.ndarray) -> tuple[np.ndarray, np.ndarray, int]:
        keys, values = self.arrays
        append(keys, values, self.tokens, key, value)
        self._show(layer, self.tokens + 1)
        if layer.is_sliding:
            layer.cumulative_length += 1
        return keys, values, self.tokens

    def _show(self, layer: Any, tokens: int) -> None:
        self.tokens = tokens
        self.views = self.keys.narrow(2, 0, tokens), self.values.narrow(2, 0, tokens)
        layer.keys, layer.values = self.views


def _with_room(old: torch.Tensor) -> torch.Tensor:
    """Return a copy of keys or values [1, groups, tokens, head] with room for more tokens behind them."""
    _, groups, tokens, head = old.shape
    place = torch.empty(1, groups, 2 * tokens + ROOM, head, dtype=old.dtype, device="cpu")
    place[:, :, :tokens] = old
    return place
