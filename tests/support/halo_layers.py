"""Random layers in HALO form, for the tests of the packed format and of the kernels."""

from dataclasses import replace

import numpy as np

from haloquant.records import Codebook, OperatingPoint, QuantizedWeight, SparseWeights, TileGrid, TileMap

NINE = (-64, -32, -16, -8, 0, 8, 16, 32, 64)
SIXTEEN = (-127, -96, -64, -48, -32, -16, -8, -4, 0, 4, 8, 16, 32, 48, 64, 96)


def codebook(values: tuple[int, ...], name: str = "class", frequency_hz: float = 2.4e9) -> Codebook:
    return Codebook(name, np.array(values, np.int16), OperatingPoint(1.1, frequency_hz), 1e-11)


def codebooks() -> tuple[Codebook, ...]:
    return codebook(SIXTEEN, "slow"), codebook(NINE, "fast", 3.7e9)


def random_layer(
    out_features: int = 384,
    in_features: int = 256,
    tile: int | tuple[int, int] = 128,
    books: tuple[Codebook, ...] | None = None,
    seed: int = 0,
    sparse: float = 0.005,
    layer: str = "model.layers.0.mlp.up_proj",
) -> QuantizedWeight:
    generator = np.random.default_rng(seed)
    books = codebooks() if books is None else books
    tile_out, tile_in = (tile, tile) if isinstance(tile, int) else tile
    grid = TileGrid(out_features, in_features, tile_out, tile_in)
    classes = generator.integers(0, len(books), (grid.down, grid.across)).astype(np.uint8)
    sizes = np.array([book.values.size for book in books])
    limit = np.repeat(np.repeat(sizes[classes], tile_out, 0), tile_in, 1)[:out_features, :in_features]
    codes = (generator.random((out_features, in_features)) * limit).astype(np.uint8)
    scale = generator.normal(0, 1e-3, (out_features, grid.across)).astype(np.float16).astype(np.float32)
    count = round(sparse * out_features * in_features)
    flat = np.sort(generator.choice(out_features * in_features, count, replace=False))
    rows, cols = (flat // in_features).astype(np.int32), (flat % in_features).astype(np.int32)
    zeros = np.array([int(np.searchsorted(book.values, 0)) for book in books], np.uint8)
    codes[rows, cols] = zeros[classes[rows // tile_out, cols // tile_in]]
    held = np.zeros(out_features, np.float32)
    if count:
        held = generator.uniform(1e-4, 1e-3, out_features).astype(np.float16).astype(np.float32)
    parts = SparseWeights(
        rows,
        cols,
        generator.integers(-127, 128, count).astype(np.int8),
        held,
        generator.integers(0, 2, count).astype(np.uint8),
    )
    return QuantizedWeight(layer, codes, scale, TileMap(layer, grid, classes), books, parts)


def with_offsets(q: QuantizedWeight, seed: int = 5, size: float = 3.0) -> QuantizedWeight:
    """The layer with random offsets of about `size` times the size of its scales, as float16 holds them."""
    drawn = np.random.default_rng(seed).standard_normal(q.scale.shape) * q.scale * size
    return replace(q, offset=drawn.astype(np.float16).astype(np.float32))


def same(a: QuantizedWeight, b: QuantizedWeight) -> bool:
    if (a.offset is None) != (b.offset is None):
        return False
    pairs = [
        (a.codes, b.codes),
        (a.scale, b.scale),
        (a.tiles.codebook, b.tiles.codebook),
        *([] if a.offset is None else [(a.offset, b.offset)]),
        *((getattr(a.sparse, name), getattr(b.sparse, name)) for name in ("rows", "cols", "values", "scale", "kind")),
    ]
    return all(x.dtype == y.dtype and np.array_equal(x, y) for x, y in pairs) and a.tiles.grid == b.tiles.grid
