"""Tiles of a named shape, drawn at random with the shares of classes and values measured on a smaller model."""

from collections.abc import Collection, Mapping
from dataclasses import replace

import numpy as np

from haloquant.accel.workload.prefill_decode import Workload
from haloquant.accel.workload.synthetic_tiles import ClassMix, Encoding, synthetic_workload
from haloquant.records import BitCount, InputBits, LayerTiles
from haloquant.records.layer_names import HEAD


def draw_tiles(measured: Mapping[str, LayerTiles], workload: Workload, tile: int, seed: int) -> dict[str, LayerTiles]:
    """Return tiles for the layers of a workload with the shares of classes, values and bits of measured layers.

    Each class has the share of tiles and the frequency of weight values that it has over all measured layers, padding
    left out. Stored bits per weight, and per output feature and tile, are theirs too, and so is the rank of a side
    branch and the bits of the inputs. The head gets no tiles, because methods leave the head in floating point.

    Args:
        measured: Tiles of every layer of a model; empty for a method that no integer MAC runs.
        workload: A pass of the named shape.
        tile: Rows and columns of a tile.
        seed: Seed of the places of the classes.
    """
    if not measured:
        return {}
    layers = list(measured.values())
    mix = class_mix(layers)
    drawn = synthetic_workload(workload, tile, tile, mix, measured_encoding(layers, len(mix)), seed=seed)
    rank = max(part.branch_rank for part in layers)
    sizes = [part.grid.out_features * part.grid.in_features for part in layers]
    kept = sum(size * part.input_density for size, part in zip(sizes, layers, strict=True))
    density = kept / sum(sizes)
    inputs = mean_input_bits(layers)
    return {name: _like(part, rank, density, inputs) for name, part in drawn.items() if name != HEAD}


def _like(part: LayerTiles, rank: int, density: float, inputs: InputBits | None) -> LayerTiles:
    """Return a layer's tiles with a float16 branch of this rank, this share of the inputs, and inputs of these bits."""
    numbers = rank * (part.grid.out_features + part.grid.in_features)
    bits = replace(part.bits, branches=16 * numbers)
    return replace(part, bits=bits, branch_rank=rank, input_density=density, input_bits=inputs)


def mean_input_bits(layers: Collection[LayerTiles]) -> InputBits | None:
    """Return the bits of the inputs of layers that round them alike, with the mean share of tokens in low bits.

    The share is weighted by the size of the layers. The result is None where inputs are as wide as the MAC's.
    """
    known = [(part.grid.out_features * part.grid.in_features, part.input_bits) for part in layers if part.input_bits]
    if not known:
        return None
    share = sum(size * bits.low_share for size, bits in known) / sum(size for size, _ in known)
    return replace(known[0][1], low_share=share)


def class_mix(layers: list[LayerTiles]) -> list[ClassMix]:
    """The share of tiles and the frequency of values of each class, over all layers."""
    values = np.unique(np.concatenate([part.values for part in layers]))
    count = 1 + max(int(part.classes.max()) for part in layers)
    tiles, seen = np.zeros(count), np.zeros((count, values.size))
    for part in layers:
        columns, zero = np.searchsorted(values, part.values), int(np.searchsorted(values, 0))
        padding = part.grid.tile_out * part.grid.tile_in - _cells(part)
        for number in range(count):
            here = part.classes == number
            tiles[number] += np.count_nonzero(here)
            seen[number, columns] += part.histogram[here].sum(axis=0, dtype=np.int64)
            seen[number, zero] -= padding[here].sum()
    shares = tiles / tiles.sum()
    return [
        ClassMix(float(share), values[row > 0], row[row > 0])
        if share
        else ClassMix(0.0, np.zeros(1, np.int16), np.ones(1))
        for share, row in zip(shares, seen, strict=True)
    ]


def _cells(part: LayerTiles) -> np.ndarray:
    """Weights in each tile [down, across], without padding."""
    grid = part.grid
    down = np.minimum(grid.tile_out, grid.out_features - grid.tile_out * np.arange(grid.down))
    across = np.minimum(grid.tile_in, grid.in_features - grid.tile_in * np.arange(grid.across))
    return np.multiply.outer(down, across)


def measured_encoding(layers: list[LayerTiles], classes: int) -> Encoding:
    """The stored bits of the layers, per weight, per output feature and tile, and per sparse weight."""
    bits = sum((part.bits for part in layers), BitCount())
    scales = sum(part.grid.out_features * part.grid.across for part in layers)
    tiles = sum(part.grid.down * part.grid.across for part in layers)
    sparse = sum(part.sparse_nnz for part in layers)
    counted = 8 * tiles if classes > 1 else 0  # the class of a tile, which `synthetic_tiles` adds itself
    rest = bits.total - bits.branches - bits.scales - (bits.sparse if sparse else 0) - counted
    return Encoding(
        rest / bits.weights,
        bits.scales / scales,
        sparse / bits.weights,
        bits.sparse / sparse if sparse else 0.0,
    )
