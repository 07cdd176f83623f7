"""Arrays of a step in one safetensors file: no pickle, sizes checked by the reader before anything is allocated."""

import errno
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from haloquant.types import LayerStatistics

_PARTS = ("fisher", "hessian", "input_absmean", "input_absmax")


def save_arrays(path: Path, arrays: Mapping[str, np.ndarray], metadata: Mapping[str, str] | None = None) -> None:
    """Write named arrays.

    Raises:
        OSError: the file cannot be written (safetensors has an error of its own for that).
    """
    try:
        save_file({k: np.ascontiguousarray(v) for k, v in arrays.items()}, path, dict(metadata or {}))
    except SafetensorError as error:
        raise OSError(errno.EIO, str(error), str(path)) from error


def load_arrays(path: Path) -> dict[str, np.ndarray]:
    """Read named arrays."""
    return load_file(path)


def save_statistics(path: Path, statistics: Mapping[str, LayerStatistics]) -> None:
    """Write what calibration found, every part that is there."""
    arrays = {
        f"{name}.{part}": value
        for name, record in statistics.items()
        for part in _PARTS
        if (value := getattr(record, part)) is not None
    }
    metadata = {f"{name}.source": record.source for name, record in statistics.items()}
    metadata |= {f"{name}.tokens": str(record.tokens) for name, record in statistics.items()}
    save_arrays(path, arrays, metadata)


def load_statistics(path: Path, names: tuple[str, ...], tokens: int, source: str) -> dict[str, LayerStatistics]:
    """Read what calibration found of the named layers."""
    arrays = load_arrays(path)
    return {
        name: LayerStatistics(name, tokens, **{part: arrays.get(f"{name}.{part}") for part in _PARTS}, source=source)
        for name in names
    }
