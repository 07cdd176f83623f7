"""Copies of large arrays between the memory of the CPU and that of a GPU.

CUDA copies ordinary memory at a small part of the speed of the bus, since it may only read and write pinned memory. So
an array goes through two pinned buffers, piece by piece: while one piece is on the bus, threads copy the other. The
buffers are kept for the process.
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from functools import lru_cache
from threading import Lock

import numpy as np
import torch

PIECE_B = 32 << 20  # bytes of a pinned buffer
SMALL_B = 1 << 20  # smaller arrays are copied by CUDA alone
COPIERS = 4  # threads that copy between ordinary and pinned memory; a worker's torch may have one thread


def to_host(tensor: torch.Tensor, into: np.ndarray | None = None) -> np.ndarray:
    """Return a tensor as an array in the memory of the CPU, which may share the memory of a tensor on the CPU.

    Args:
        tensor: of any device.
        into: receives the values and is returned; contiguous, of the tensor's shape and type. A new array where None.

    Raises:
        ValueError: The given array has another shape or type, or is not contiguous.
    """
    tensor = tensor.detach()
    kind = torch.empty(0, dtype=tensor.dtype).numpy().dtype
    if into is not None and (into.shape != tensor.shape or into.dtype != kind or not into.flags.c_contiguous):
        raise ValueError(f"the array must be contiguous {kind} {tuple(tensor.shape)}, not {into.dtype} {into.shape}")
    if tensor.device.type != "cuda" or tensor.nbytes < SMALL_B:
        found = tensor.cpu().numpy()
        if into is None:
            return found
        into[...] = found
        return into
    found = np.empty(tuple(tensor.shape), kind) if into is None else into
    staging(tensor.device).to_host(_bytes(tensor.contiguous()), found.reshape(-1).view(np.uint8))
    return found


def to_device(array: np.ndarray, device: torch.device) -> torch.Tensor:
    """Return an array as a tensor on a device. On the CPU it may share the array's memory."""
    array = np.ascontiguousarray(array)
    if device.type != "cuda" or array.nbytes < SMALL_B:
        return torch.from_numpy(array).to(device)
    found = torch.empty(array.shape, dtype=torch.from_numpy(np.empty(0, array.dtype)).dtype, device=device)
    staging(found.device).to_device(array.reshape(-1).view(np.uint8), _bytes(found))
    return found


def moved(tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
    """Return a tensor on a device, itself if it is there."""
    if tensor.device.type == device.type:
        return tensor.to(device)
    return torch.from_numpy(to_host(tensor)) if device.type == "cpu" else to_device(tensor.numpy(), device)


class Staging:
    """Two pinned buffers of one GPU. One array at a time goes through them."""

    def __init__(self, device: torch.device, piece_b: int = PIECE_B) -> None:
        """Allocate the buffers. On the CPU they are ordinary memory, for tests."""
        self._device, self._piece_b, self._lock = device, piece_b, Lock()
        pinned = device.type == "cuda"
        self._buffers = [torch.empty(piece_b, dtype=torch.uint8, pin_memory=pinned) for _ in range(2)]
        self._events = [torch.cuda.Event() for _ in range(2)] if pinned else [_NoEvent(), _NoEvent()]
        self._copiers = ThreadPoolExecutor(COPIERS, "haloquant-copy")

    def to_host(self, source: torch.Tensor, target: np.ndarray) -> None:
        """Copy bytes [n] of the GPU into an array [n]; all are there when it returns."""
        with self._lock, self._current():
            before: tuple[int, slice] | None = None
            for number, part in self._pieces(target.size):
                self._events[number].synchronize()
                self._buffers[number][: part.stop - part.start].copy_(source[part], non_blocking=True)
                self._events[number].record()
                if before is not None:
                    self._take(before, target)
                before = number, part
            if before is not None:
                self._take(before, target)

    def to_device(self, source: np.ndarray, target: torch.Tensor) -> None:
        """Copy an array of bytes [n] into a tensor [n] of the GPU, in the order of the current stream."""
        with self._lock, self._current():
            for number, part in self._pieces(source.size):
                self._events[number].synchronize()  # the piece before the last has left the buffer
                buffer = self._buffers[number][: part.stop - part.start]
                self._copy(source[part], buffer.numpy())
                target[part].copy_(buffer, non_blocking=True)
                self._events[number].record()

    def _take(self, piece: tuple[int, slice], target: np.ndarray) -> None:
        """Copy a piece out of its buffer when it has arrived."""
        number, part = piece
        self._events[number].synchronize()
        self._copy(self._buffers[number].numpy()[: part.stop - part.start], target[part])

    def _copy(self, source: np.ndarray, target: np.ndarray) -> None:
        """Copy bytes in several threads."""
        step = -(-source.size // COPIERS)
        starts = range(0, source.size, step)
        list(self._copiers.map(lambda low: np.copyto(target[low : low + step], source[low : low + step]), starts))

    def _pieces(self, size: int) -> Iterator[tuple[int, slice]]:
        """Yield the number of the buffer and the bytes of each piece."""
        for number, low in enumerate(range(0, size, self._piece_b)):
            yield number % 2, slice(low, min(low + self._piece_b, size))

    def _current(self) -> AbstractContextManager[object]:
        """Make the device the current one, whose events and streams are used."""
        return torch.cuda.device(self._device) if self._device.type == "cuda" else nullcontext()


class _NoEvent:
    """Stands for a CUDA event where copies are done when they return."""

    def record(self) -> None:
        """Do nothing."""

    def synchronize(self) -> None:
        """Do nothing."""


@lru_cache
def staging(device: torch.device) -> Staging:
    """Return the buffers of a GPU."""
    return Staging(device)


def _bytes(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.view(-1).view(torch.uint8)
