"""Arrays cut into flat pieces for Ray's object store, so that no object is large, and joined again."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from haloquant.jobs.engine.tasks import Arrays

PIECE_BYTES = 64 << 20


@dataclass(frozen=True)
class Layout:
    """How one array was cut: its name, type and shape, and the number of its pieces."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    pieces: int


def cut(arrays: Arrays, most_bytes: int = PIECE_BYTES) -> tuple[list[Layout], list[np.ndarray]]:
    """Return how each array was cut, and all pieces in order: flat, each of at most `most_bytes`."""
    layout: list[Layout] = []
    pieces: list[np.ndarray] = []
    for name, array in arrays.items():
        flat = np.ascontiguousarray(array).reshape(-1)
        step = max(1, most_bytes // flat.itemsize)
        parts = [flat[first : first + step] for first in range(0, max(flat.size, 1), step)]
        layout.append(Layout(name, flat.dtype.str, array.shape, len(parts)))
        pieces += parts
    return layout, pieces


def join(layout: Sequence[Layout], pieces: Iterable[np.ndarray]) -> dict[str, np.ndarray]:
    """Return the arrays that `cut` was given, copied into new memory."""
    source = iter(pieces)
    arrays: dict[str, np.ndarray] = {}
    for part in layout:
        flat = np.empty(int(np.prod(part.shape)), np.dtype(part.dtype))
        first = 0
        for _ in range(part.pieces):
            piece = next(source)
            flat[first : first + piece.size] = piece
            first += piece.size
        arrays[part.name] = flat.reshape(part.shape)
    return arrays
