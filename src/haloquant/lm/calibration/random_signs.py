"""The random signs by which the output of a block is probed: one tensor for each window.

They are drawn on the CPU, so that a GPU gives the results of the CPU. Drawing those of a window takes as
long as a GPU's whole work on that window, so threads draw the signs of the next windows while a GPU computes.
"""

from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256

import torch

from haloquant.kernels.device_copies import moved

_THREADS = 4
_AHEAD = 6  # windows whose signs are drawn or wait; each takes up to 9 bytes a sign


def signs_of_windows(
    seed: int, block: int, windows: range, shape: tuple[int, ...], device: torch.device
) -> Iterator[torch.Tensor]:
    """Yield -1 or 1 of every value of a block's output, int8 on the device, window after window.

    The signs depend on seed, block and window, and on neither worker nor device.

    Args:
        seed: seed of the calibration.
        block: number of the block.
        windows: numbers of the windows.
        shape: shape of the output of one window.
        device: where the block computes.
    """
    if device.type == "cpu":
        yield from (draw_signs(seed, block, window, shape) for window in windows)
        return
    with ThreadPoolExecutor(_THREADS, "haloquant-signs") as pool:  # drawing releases the GIL
        waiting = deque(pool.submit(draw_signs, seed, block, window, shape) for window in windows[:_AHEAD])
        for window in windows:
            if window + _AHEAD in windows:
                waiting.append(pool.submit(draw_signs, seed, block, window + _AHEAD, shape))
            yield moved(waiting.popleft().result(), device)


def draw_signs(seed: int, block: int, window: int, shape: tuple[int, ...]) -> torch.Tensor:
    """Return the signs of one window at one block, int8."""
    digest = sha256(f"{seed}/{block}/{window}".encode()).digest()
    generator = torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)
    return torch.randint(0, 2, shape, generator=generator).to(torch.int8).mul_(2).sub_(1)
