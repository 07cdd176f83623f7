"""Save calibration statistics to one safetensors file, and load them.

A matrix that several layers share (q, k and v read the same input) is stored once.
"""

from collections.abc import Collection, Mapping
from pathlib import Path

import msgspec
import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from haloquant.errors import MALFORMED, CheckpointError
from haloquant.lm.checkpoint.safetensors import StoredTensor, read_float32, read_header
from haloquant.records import STATISTICS_ARRAYS, LayerStatistics
from haloquant.store.atomic_files import atomic_file, safetensors_file

VERSION = 2  # part of a step's key: increase it when the meaning of the results of `collect` changes


class _Entry(msgspec.Struct, frozen=True):
    """What the header of the file holds for one layer: `parts` maps the name of a part to that of its tensor."""

    tokens: int
    source: str
    parts: dict[str, str]


def save_statistics(path: Path, statistics: Mapping[str, LayerStatistics]) -> None:
    """Write statistics to `path`, which appears only when it is complete.

    Raises:
        OSError: The file cannot be written.
    """
    tensors: dict[str, np.ndarray] = {}
    written: dict[int, str] = {}
    entries: dict[str, _Entry] = {}
    for layer, known in statistics.items():
        parts: dict[str, str] = {}
        for part in STATISTICS_ARRAYS:
            array = getattr(known, part)
            if array is None:
                continue
            name = written.setdefault(id(array), f"{layer}:{part}")
            tensors.setdefault(name, np.ascontiguousarray(array, np.float32))
            parts[part] = name
        entries[layer] = _Entry(known.tokens, known.source, parts)
    with atomic_file(path) as temporary, safetensors_file(temporary):
        save_file(tensors, temporary, metadata={"statistics": msgspec.json.encode(entries).decode()})


def load_statistics(path: Path, layers: Collection[str] | None = None) -> dict[str, LayerStatistics]:
    """Read a file that `save_statistics` wrote. Layers that shared a matrix share it again.

    Args:
        path: the file.
        layers: layers to read; all where None.

    Raises:
        CheckpointError: The file is missing or truncated, or holds something else.
    """
    stored = read_header(path)
    try:
        with safe_open(path, framework="numpy") as file:
            text = (file.metadata() or {}).get("statistics", "")
        entries = msgspec.json.decode(text, type=dict[str, _Entry])
    except (SafetensorError, *MALFORMED) as error:
        raise CheckpointError(f"{path} must hold calibration statistics, but: {error}") from error
    arrays: dict[str, np.ndarray] = {}
    return {
        layer: _restore(path, layer, entry, stored, arrays)
        for layer, entry in entries.items()
        if layers is None or layer in layers
    }


def _restore(
    path: Path, layer: str, entry: _Entry, stored: Mapping[str, StoredTensor], arrays: dict[str, np.ndarray]
) -> LayerStatistics:
    parts: dict[str, np.ndarray] = {}
    for part, name in entry.parts.items():
        if part not in STATISTICS_ARRAYS or name not in stored:
            raise CheckpointError(f"{path} must hold the {part} of {layer}, but does not")
        if name not in arrays:
            arrays[name] = read_float32(stored[name]).reshape(stored[name].shape)
        parts[part] = arrays[name]
    if "value_rows" in parts:
        parts["value_rows"] = parts["value_rows"] != 0
    return LayerStatistics(layer, entry.tokens, source=entry.source, **parts)
