"""Arrays of a step in one safetensors file: no pickle, sizes checked by the reader before anything is allocated."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file, save_file

from haloquant.store.atomic_files import plain_errors


def save_arrays(path: Path, arrays: Mapping[str, np.ndarray], metadata: Mapping[str, str] | None = None) -> None:
    """Write named arrays.

    Raises:
        OSError: the file cannot be written.
    """
    with plain_errors(path):
        save_file({k: np.ascontiguousarray(v) for k, v in arrays.items()}, path, dict(metadata or {}))


def load_arrays(path: Path) -> dict[str, np.ndarray]:
    """Read named arrays."""
    return load_file(path)


def keep_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Write named arrays, of which there may be none: then no file, as safetensors itself refuses one without arrays.

    Raises:
        OSError: the file cannot be written.
    """
    if arrays:
        save_arrays(path, arrays)


def kept_arrays(path: Path) -> dict[str, np.ndarray]:
    """What `keep_arrays` was given."""
    return load_arrays(path) if path.exists() else {}
