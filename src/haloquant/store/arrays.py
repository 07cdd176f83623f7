"""Named arrays in one safetensors file.

The format holds no pickled objects, and its reader checks every size before it allocates memory.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file, save_file

from haloquant.store.atomic_files import safetensors_file


def save_arrays(path: Path, arrays: Mapping[str, np.ndarray], metadata: Mapping[str, str] | None = None) -> None:
    """Write named arrays.

    Raises:
        OSError: The file cannot be written.
    """
    with safetensors_file(path):
        save_file({k: np.ascontiguousarray(v) for k, v in arrays.items()}, path, dict(metadata or {}))


def load_arrays(path: Path) -> dict[str, np.ndarray]:
    """Read named arrays."""
    return load_file(path)


def save_arrays_if_any(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Write named arrays. If there are none, write no file, because safetensors refuses a file without arrays.

    Raises:
        OSError: The file cannot be written.
    """
    if arrays:
        save_arrays(path, arrays)


def load_arrays_if_any(path: Path) -> dict[str, np.ndarray]:
    """Read the arrays that `save_arrays_if_any` wrote; none if it wrote no file."""
    return load_arrays(path) if path.exists() else {}
