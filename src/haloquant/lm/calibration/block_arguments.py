"""Arguments of decoder blocks besides the hidden states, for every window; memory holds those of one window.

Most arguments are the same for every window (masks, rotary tables). Tensors that differ from those of the first window
are in a temporary file, and are read when a block runs.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any
from weakref import finalize

import numpy as np
import torch

Arguments = tuple[tuple[Any, ...], dict[str, Any]]  # arguments of a block after the hidden states


@dataclass(frozen=True)
class StoredTensor:
    """The place of a tensor in the file: its first byte and the number of its bytes, its type and its shape."""

    first: int
    bytes: int
    dtype: torch.dtype
    shape: tuple[int, ...]


class BlockArguments:
    """The arguments of all blocks by window.

    A tensor that several blocks get is in the file once.
    """

    def __init__(self, first: Sequence[Arguments | None], scratch: Path | None = None) -> None:
        """Begin with the arguments that stay in memory.

        Args:
            first: arguments of each block for one window; None for a block that does not run.
            scratch: folder of the temporary file; the system's where None.
        """
        self._first = first
        self._file = TemporaryFile(dir=scratch)  # noqa: SIM115 - it is open as long as this object lives
        finalize(self, self._file.close)
        self._of_window: dict[bytes, list[Arguments | None]] = {}

    def __contains__(self, tokens: np.ndarray) -> bool:
        return _key(tokens) in self._of_window

    def keep(self, tokens: np.ndarray, arguments: Sequence[Arguments | None]) -> None:
        """Keep the arguments of each block for a window of these tokens [t]."""
        places: dict[int, StoredTensor] = {}  # by the identity of a tensor, which `arguments` keeps alive

        def stored(tensor: torch.Tensor, known: Any) -> Any:
            if isinstance(known, torch.Tensor) and _equal(tensor, known):
                return known
            if id(tensor) not in places:
                places[id(tensor)] = self._write(tensor)
            return places[id(tensor)]

        pairs = zip(arguments, self._first, strict=True)
        self._of_window[_key(tokens)] = [_mapped(own, known, stored) for own, known in pairs]

    def read(self, tokens: np.ndarray, block: int) -> Arguments | None:
        """Return the arguments of a block for a window of these tokens [t], which `keep` was given."""
        return _mapped(self._of_window[_key(tokens)][block], None, lambda tensor, _: tensor, self._read)

    def _write(self, tensor: torch.Tensor) -> StoredTensor:
        raw = tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy()
        place = StoredTensor(self._file.seek(0, 2), raw.nbytes, tensor.dtype, tuple(tensor.shape))
        self._file.write(raw.data)
        return place

    def _read(self, place: StoredTensor) -> torch.Tensor:
        if not place.bytes:
            return torch.empty(place.shape, dtype=place.dtype)
        self._file.seek(place.first)
        raw = bytearray(self._file.read(place.bytes))
        return torch.frombuffer(raw, dtype=place.dtype).view(place.shape)


def same_tensors(first: Any, second: Any) -> bool:
    """Return whether the tensors in two sets of arguments are equal. Other values are not compared."""
    if isinstance(first, torch.Tensor) and isinstance(second, torch.Tensor):
        return _equal(first, second)
    if type(first) in (tuple, list) and type(first) is type(second):
        return len(first) == len(second) and all(map(same_tensors, first, second))
    if type(first) is dict and type(second) is dict:
        return all(same_tensors(value, second.get(name)) for name, value in first.items())
    return not isinstance(first, torch.Tensor) and not isinstance(second, torch.Tensor)


def moved(part: Any, device: torch.device) -> Any:
    """Return arguments with every tensor in them on the device."""
    return _mapped(part, None, lambda tensor, _: tensor.to(device))


def _mapped(
    part: Any,
    known: Any,
    tensor: Callable[[torch.Tensor, Any], Any],
    place: Callable[[StoredTensor], Any] = lambda place: place,
) -> Any:
    """Return a set of arguments with its tensors replaced, and its places in the file.

    Args:
        part: the arguments.
        known: others of the same form, whose part at the same place `tensor` gets too; None has no parts.
        tensor: returns what replaces a tensor.
        place: returns what replaces a place in the file.
    """
    if isinstance(part, torch.Tensor):
        return tensor(part, known)
    if isinstance(part, StoredTensor):
        return place(part)
    if type(part) in (tuple, list):
        others = known if type(known) is type(part) and len(known) == len(part) else [None] * len(part)
        return type(part)(_mapped(own, other, tensor, place) for own, other in zip(part, others, strict=True))
    if type(part) is dict:
        others = known if type(known) is dict else {}
        return {name: _mapped(own, others.get(name), tensor, place) for name, own in part.items()}
    return part


def _equal(first: torch.Tensor, second: torch.Tensor) -> bool:
    return first.shape == second.shape and first.dtype == second.dtype and torch.equal(first, second)


def _key(tokens: np.ndarray) -> bytes:
    return np.ascontiguousarray(tokens, np.int64).tobytes()
