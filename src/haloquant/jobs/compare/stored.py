"""What a finished step keeps on disk, and how it is read again."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np

from haloquant.dvfs.classes import Classes
from haloquant.jobs.compare.methods import Accuracy
from haloquant.quant.format.packing import pack, unpack
from haloquant.records import BitCount, Codebook, LayerTiles, MacProfile, OperatingPoint, QuantizedWeight, TileGrid
from haloquant.store.arrays import load_arrays, load_arrays_if_any, save_arrays, save_arrays_if_any
from haloquant.store.atomic_files import read_bounded, write_bytes

MAX_JSON = 1 << 26


class KeptBook(msgspec.Struct, frozen=True):
    """A codebook as JSON."""

    name: str
    values: list[int]
    voltage_v: float
    frequency_hz: float
    slack_s: float


class KeptLayer(msgspec.Struct, frozen=True):
    """What is kept of a layer's tiles beside their arrays."""

    layer: str
    grid: tuple[int, int, int, int]
    sparse_nnz: int
    bits: BitCount


class KeptMethod(msgspec.Struct, frozen=True):
    """What is kept of a method: its accuracy, its bits, and its layers if an integer MAC runs them."""

    name: str
    accuracy: Accuracy
    bits: BitCount
    notes: list[str]
    layers: list[KeptLayer]


@dataclass(frozen=True)
class Method:
    """A method that was quantized and evaluated. `tiles` is empty where it needs a floating-point multiplier."""

    name: str
    accuracy: Accuracy
    bits: BitCount
    notes: tuple[str, ...]
    tiles: Mapping[str, LayerTiles]


def save_classes(folder: Path, classes: Classes) -> None:
    """Keep the codebooks."""
    kept = [
        KeptBook(b.name, b.values.tolist(), b.point.voltage_v, b.point.frequency_hz, b.slack_s)
        for b in classes.codebooks
    ]
    write_bytes(folder / "classes.json", msgspec.json.format(msgspec.json.encode(kept), indent=1))


def load_classes(folder: Path, profile: MacProfile, corner: int) -> Classes:
    """The codebooks again."""
    kept = msgspec.json.decode(read_bounded(folder / "classes.json", MAX_JSON), type=list[KeptBook])
    books = tuple(
        Codebook(k.name, np.array(k.values, np.int16), OperatingPoint(k.voltage_v, k.frequency_hz), k.slack_s)
        for k in kept
    )
    return Classes(profile, corner, books)


def save_method(folder: Path, method: Method) -> None:
    """Keep a method's numbers as JSON and its histograms as arrays."""
    layers: list[KeptLayer] = []
    arrays: dict[str, np.ndarray] = {}
    for name, tiles in method.tiles.items():
        grid = tiles.grid
        shape = (grid.out_features, grid.in_features, grid.tile_out, grid.tile_in)
        layers.append(KeptLayer(name, shape, tiles.sparse_nnz, tiles.bits))
        arrays |= {
            f"{name}.classes": tiles.classes,
            f"{name}.values": tiles.values,
            f"{name}.histogram": tiles.histogram,
        }
    kept = KeptMethod(method.name, method.accuracy, method.bits, list(method.notes), layers)
    write_bytes(folder / "method.json", msgspec.json.format(msgspec.json.encode(kept), indent=1))
    save_arrays_if_any(folder / "tiles.safetensors", arrays)


def load_method(folder: Path) -> Method:
    """A method again."""
    kept = msgspec.json.decode(read_bounded(folder / "method.json", MAX_JSON), type=KeptMethod)
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
        )
        for k in kept.layers
    }
    return Method(kept.name, kept.accuracy, kept.bits, tuple(kept.notes), tiles)


def save_packed(folder: Path, quantized: Mapping[str, QuantizedWeight]) -> None:
    """Keep layers in packed form."""
    arrays = {f"{layer}.{name}": array for layer, q in quantized.items() for name, array in pack(q).items()}
    save_arrays(folder / "packed.safetensors", arrays)


def load_packed(
    folder: Path, layers: tuple[str, ...], codebooks: tuple[Codebook, ...], tile: int
) -> list[QuantizedWeight]:
    """The layers again."""
    arrays = load_arrays(folder / "packed.safetensors")
    found: list[QuantizedWeight] = []
    for layer in layers:
        prefix = f"{layer}."
        own = {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}
        found.append(unpack(own, layer, codebooks, tile, tile))
    return found
