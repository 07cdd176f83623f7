"""Files of a finished step: the codebooks of the classes as JSON, and packed layers as arrays."""

from collections.abc import Mapping
from pathlib import Path

import msgspec
import numpy as np

from haloquant.dvfs.classes import Classes
from haloquant.quant.format.packing import PackedWeight, packed_weight
from haloquant.records import Codebook, MacProfile, OperatingPoint
from haloquant.store.arrays import load_arrays, save_arrays
from haloquant.store.atomic_files import read_bounded, write_bytes

MAX_JSON = 1 << 26  # bytes read of one JSON file at most


class StoredCodebook(msgspec.Struct, frozen=True):
    """A codebook as JSON. Units: volt, hertz, second."""

    name: str
    values: list[int]
    voltage_v: float
    frequency_hz: float
    slack_s: float


def save_classes(folder: Path, classes: Classes) -> None:
    """Write the codebooks of all classes to `folder`."""
    stored = [
        StoredCodebook(b.name, b.values.tolist(), b.point.voltage_v, b.point.frequency_hz, b.slack_s)
        for b in classes.codebooks
    ]
    write_bytes(folder / "classes.json", msgspec.json.format(msgspec.json.encode(stored), indent=1))


def load_classes(folder: Path, profile: MacProfile, corner: int) -> Classes:
    """Return the classes that `save_classes` wrote; `profile` and `corner` are those they were chosen for."""
    stored = msgspec.json.decode(read_bounded(folder / "classes.json", MAX_JSON), type=list[StoredCodebook])
    books = tuple(
        Codebook(k.name, np.array(k.values, np.int16), OperatingPoint(k.voltage_v, k.frequency_hz), k.slack_s)
        for k in stored
    )
    return Classes(profile, corner, books)


def save_packed(folder: Path, packed: Mapping[str, Mapping[str, np.ndarray]]) -> None:
    """Write the packed arrays of layers (`quant.format.packing.pack`), by layer, to `folder`."""
    arrays = {f"{layer}.{name}": array for layer, made in packed.items() for name, array in made.items()}
    save_arrays(folder / "packed.safetensors", arrays)


def load_packed(
    folder: Path, layers: tuple[str, ...], codebooks: tuple[Codebook, ...], tile: int
) -> list[PackedWeight]:
    """Return the named layers that `save_packed` wrote, in the order of `layers`; tiles are tile x tile.

    Raises:
        FormatError: The file is damaged.
    """
    arrays = load_arrays(folder / "packed.safetensors")
    found: list[PackedWeight] = []
    for layer in layers:
        prefix = f"{layer}."
        own = {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}
        found.append(packed_weight(own, layer, codebooks, tile, tile))
    return found
