"""Random layers in packed form, as the kernels take them."""

import numpy as np
import pytest
import torch

from haloquant.kernels.layer_tensors import PackedLayer, packed_layer
from haloquant.lm.packed.config import make_config
from haloquant.lm.packed.halo_linear import HaloLinear
from haloquant.quant.format.packing import pack
from haloquant.records import QuantizedWeight
from support.halo_layers import NINE, SIXTEEN, codebook, random_layer

BOOKS = {
    "two": (codebook(SIXTEEN, "slow"), codebook(NINE, "fast")),
    "nine": (codebook(NINE),),
    "bytes": (codebook(tuple(range(-100, 101))), codebook((-1, 0, 1)), codebook(SIXTEEN[2:13])),
}

SHAPES = [
    (384, 256, 128),
    (130, 172, 128),
    (300, 515, 128),
    (37, 41, (7, 11)),
    (33, 65, 32),
    (1, 1, 128),
    (70, 256, (23, 128)),
]
CASES = pytest.mark.parametrize("shape", SHAPES, ids=str)
KINDS = pytest.mark.parametrize("books", BOOKS)


def view(q: QuantizedWeight) -> PackedLayer:
    tensors = {name: torch.from_numpy(array) for name, array in pack(q).items()}
    values = tuple(tuple(book.values.tolist()) for book in q.codebooks)
    return packed_layer(tensors, values, q.tiles.grid.tile_out, q.tiles.grid.tile_in)


def layer(shape, books, sparse=0.01, seed=1) -> tuple[QuantizedWeight, PackedLayer]:
    q = random_layer(*shape, BOOKS[books], seed, sparse)
    return q, view(q)


def tokens(count: int, width: int) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(9).normal(0, 1, (count, width)).astype(np.float32))


def packed_tensors(q: QuantizedWeight) -> dict[str, torch.Tensor]:
    return {name: torch.from_numpy(array.copy()) for name, array in pack(q).items()}


def packed_module(q: QuantizedWeight) -> HaloLinear:
    """A packed layer of a model, without a bias."""
    tensors = packed_tensors(q)
    grid = q.tiles.grid
    config = make_config(q.codebooks, grid.tile_out, grid.tile_in, (q.layer,), ("p", "0" * 64), 4.0)
    shapes = {name: (tensor.dtype, tuple(tensor.shape)) for name, tensor in tensors.items()}
    features = (grid.out_features, grid.in_features)
    module = HaloLinear(q.layer, config, shapes, features, False, torch.float32, "cpu")
    for name, tensor in tensors.items():
        setattr(module, name, tensor)
    return module
