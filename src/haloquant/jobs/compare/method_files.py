"""Files of one finished method: its numbers as JSON, and the contents of its tiles as arrays."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np

from haloquant.jobs.compare.accuracy import Accuracy
from haloquant.jobs.step_files import MAX_JSON
from haloquant.records import BitCount, LayerTiles, TileGrid
from haloquant.store.arrays import load_arrays_if_any, save_arrays_if_any
from haloquant.store.atomic_files import read_bounded, write_bytes


@dataclass(frozen=True)
class MethodResult:
    """A method that was quantized and evaluated.

    `tiles` holds the tile classes and value histograms of each layer. It is empty if the method needs a
    floating-point multiplier.
    """

    name: str
    accuracy: Accuracy
    bits: BitCount
    notes: tuple[str, ...]
    tiles: Mapping[str, LayerTiles]


class StoredLayer(msgspec.Struct, frozen=True):
    """A layer's tiles as JSON, without their arrays. `grid` is (out features, in features, tile out, tile in)."""

    layer: str
    grid: tuple[int, int, int, int]
    sparse_nnz: int
    bits: BitCount
    branch_rank: int = 0
    input_density: float = 1.0


class StoredMethod(msgspec.Struct, frozen=True):
    """A method as JSON. `layers` is empty if the method needs a floating-point multiplier."""

    name: str
    accuracy: Accuracy
    bits: BitCount
    notes: list[str]
    layers: list[StoredLayer]


def save_method(folder: Path, method: MethodResult) -> None:
    """Write a method to `folder`: numbers as JSON, histograms of the tiles as arrays."""
    layers: list[StoredLayer] = []
    arrays: dict[str, np.ndarray] = {}
    for name, tiles in method.tiles.items():
        grid = tiles.grid
        shape = (grid.out_features, grid.in_features, grid.tile_out, grid.tile_in)
        layers.append(StoredLayer(name, shape, tiles.sparse_nnz, tiles.bits, tiles.branch_rank, tiles.input_density))
        arrays |= {
            f"{name}.classes": tiles.classes,
            f"{name}.values": tiles.values,
            f"{name}.histogram": tiles.histogram,
        }
    stored = StoredMethod(method.name, method.accuracy, method.bits, list(method.notes), layers)
    write_bytes(folder / "method.json", msgspec.json.format(msgspec.json.encode(stored), indent=1))
    save_arrays_if_any(folder / "tiles.safetensors", arrays)


def load_method(folder: Path) -> MethodResult:
    """Return the method that `save_method` wrote to `folder`."""
    stored = msgspec.json.decode(read_bounded(folder / "method.json", MAX_JSON), type=StoredMethod)
    arrays = load_arrays_if_any(folder / "tiles.safetensors")
    tiles = {
        k.layer: LayerTiles(
            k.layer,
            TileGrid(*k.grid),
            arrays[f"{k.layer}.classes"],
            arrays[f"{k.layer}.values"],
            arrays[f"{k.layer}.histogram"],
            k.sparse_nnz,
            k.bits,
            k.branch_rank,
            k.input_density,
        )
        for k in stored.layers
    }
    return MethodResult(stored.name, stored.accuracy, stored.bits, tuple(stored.notes), tiles)
