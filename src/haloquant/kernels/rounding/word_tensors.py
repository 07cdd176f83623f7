"""The codebooks of a layer as tensors on the device, and codes turned back into weights."""

from dataclasses import dataclass

import numpy as np
import torch

from haloquant.quant.rounding.scale_search import trial_ratios
from haloquant.quant.tiles import word_table
from haloquant.records import Codebook

BLOCK_WEIGHTS = 1 << 23
"""Weights of a layer that elementwise steps take at a time. It bounds their temporary tensors."""


@dataclass(frozen=True)
class WordTensors:
    """Codebooks, padded to the largest, `most` words.

    Attributes:
        words: words of each class, float32 [classes, most]; padded with 0.
        mirrored: negated words, ascending, padded with 0.
        sizes: number of words of each class, int64 [classes].
        zeros: code of the word 0 of each class, uint8 [classes].
        reach: largest magnitude of each class, float32 [classes].
        signs: 1 if the mirrored words are the same words, otherwise 2, int64 [classes].
        ratios: scales to try, in units of largest weight / largest word, float32 [classes, trials]; padded with 0.
        trials: number of scales to try of each class, int64 [classes].
        two_sided: whether the mirrored words of any class are other words.
    """

    words: torch.Tensor
    mirrored: torch.Tensor
    sizes: torch.Tensor
    zeros: torch.Tensor
    reach: torch.Tensor
    signs: torch.Tensor
    ratios: torch.Tensor
    trials: torch.Tensor
    two_sided: bool

    @property
    def most(self) -> int:
        """Number of words of the largest codebook."""
        return self.words.shape[1]


def word_tensors(codebooks: tuple[Codebook, ...], device: torch.device) -> WordTensors:
    """Return the codebooks as tensors on a device."""
    table, sizes = word_table(codebooks)
    mirrored = np.zeros_like(table)
    for k, size in enumerate(sizes):
        mirrored[k, :size] = -table[k, :size][::-1]
    ratios = [trial_ratios(codebook.values) for codebook in codebooks]
    trials = np.array([part.size for part in ratios])
    padded = np.stack([np.pad(part, (0, int(trials.max()) - part.size)) for part in ratios])
    zeros = np.array([int(np.searchsorted(codebook.values, 0)) for codebook in codebooks], np.uint8)
    signs = np.array([1 if np.array_equal(*pair) else 2 for pair in zip(table, mirrored, strict=True)], np.int64)
    parts = (table, mirrored, sizes, zeros, np.abs(table).max(1), signs, padded.astype(np.float32), trials)
    tensors = (torch.from_numpy(np.ascontiguousarray(part)).to(device) for part in parts)
    return WordTensors(*tensors, two_sided=bool((signs == 2).any()))


def power_of_two(size: int) -> int:
    """Return the next power of two, at least 16: the length to which a Triton kernel pads."""
    return max(16, 1 << (size - 1).bit_length())


def rows_at_once(inputs: int) -> int:
    """Return how many rows of this length an elementwise step takes at a time."""
    return max(1, BLOCK_WEIGHTS // inputs)


def tiled(values: torch.Tensor, tile_in: int) -> torch.Tensor:
    """Return a matrix [rows, in] as [rows, across, tile_in], padded with 0."""
    across = -(-values.shape[1] // tile_in)
    padded = torch.nn.functional.pad(values, (0, across * tile_in - values.shape[1]))
    return padded.view(values.shape[0], across, tile_in)


def scaled_words(
    codes: torch.Tensor, scale: torch.Tensor, classes: torch.Tensor, words: WordTensors, tile_in: int
) -> torch.Tensor:
    """Return the word of every code times the scale of its (row, tile).

    Args:
        codes: uint8 [rows, in].
        scale: float32 [rows, across].
        classes: class of each (row, tile), int64 [rows, across].
        words: the codebooks.
        tile_in: inputs of a tile.

    Returns:
        float32 [rows, in].
    """
    inputs = codes.shape[1]
    found, step, table = torch.empty(codes.shape, device=codes.device), rows_at_once(inputs), words.words.flatten()
    for low in range(0, codes.shape[0], step):
        some = slice(low, low + step)
        places = tiled(codes[some], tile_in).long() + words.most * classes[some, :, None]
        found[some] = (table[places] * scale[some, :, None]).flatten(1)[:, :inputs]
    return found
