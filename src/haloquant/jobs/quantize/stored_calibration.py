"""What calibration made of a decoder block, saved as steps.

The hidden states after it let a stopped pass continue from its last block. The statistics of its layers let the next
pass read them and not calibrate again.
"""

import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from haloquant.jobs.quantize.layer_tasks import statistics_arrays
from haloquant.lm.checkpoint.reader import LinearLayer
from haloquant.records import LayerStatistics
from haloquant.store.arrays import load_arrays, save_arrays
from haloquant.store.finished_steps import Steps
from haloquant.store.temporary_paths import remove_folder

_STATISTICS = "statistics.safetensors"
_NAMES = ("states", "statistics")  # which names of steps begin with


@dataclass(frozen=True)
class StoredStates:
    """The saved hidden states of one pass; `name` is that of the pass."""

    steps: Steps
    key: str
    name: str

    @property
    def _prefix(self) -> str:
        return f"{_NAMES[0]}-{self.name.replace(' ', '-')}"

    def resume(self, missing: Iterable[LinearLayer]) -> tuple[int, np.ndarray] | None:
        """Return where a stopped pass can continue: a number of finished blocks, and the hidden states after them.

        These are the latest saved states from before the first block that has an unfinished layer. None means that
        the pass must begin at the first block.
        """
        first = min(layer.block or 0 for layer in missing)
        for blocks in range(first, 0, -1):
            folder = self.steps.find(f"{self._prefix}-{blocks}", self.key)
            if folder is not None:
                return blocks, load_arrays(folder / "states.safetensors")["states"]
        return None

    def save(self, blocks: int, states: np.ndarray, missing: Iterable[LinearLayer]) -> None:
        """Save the hidden states after this block, and delete older ones that no unfinished layer still needs.

        Args:
            blocks: Number of finished blocks.
            states: Hidden states after them [windows, tokens, hidden].
            missing: Layers that are not finished.
        """
        self.steps.run(
            f"{self._prefix}-{blocks}",
            self.key,
            lambda at: save_arrays(at / "states.safetensors", {"states": np.asarray(states)}),
        )
        oldest = min((layer.block or 0 for layer in missing), default=blocks)
        for older in range(blocks - 1, 0, -1):
            if older < oldest:
                self.steps.forget(f"{self._prefix}-{older}", self.key)

    def delete(self, blocks: Iterable[int]) -> None:
        """Delete the states after these numbers of blocks, once every layer is finished. Those of others stay."""
        for number in blocks:
            self.steps.forget(f"{self._prefix}-{number}", self.key)


@dataclass(frozen=True)
class StoredStatistics:
    """The saved statistics of the layers of each block, which are those of the full-precision model in every pass."""

    steps: Steps
    key: str

    def have_room(self, block: Mapping[str, LayerStatistics], blocks: int) -> bool:
        """Return whether the disk holds twice the statistics of as many blocks as large as this one."""
        arrays = {id(array): array.nbytes for known in block.values() for array in statistics_arrays(known).values()}
        return 2 * blocks * sum(arrays.values()) <= shutil.disk_usage(self.steps.root).free

    def save(self, block: int, statistics: Mapping[str, LayerStatistics]) -> None:
        """Save the statistics of a block's layers. Float32 values keep their bits."""
        from haloquant.lm.calibration.statistics_file import save_statistics

        self.steps.run(*self._step(block), lambda at: save_statistics(at / _STATISTICS, statistics))

    def find(self, blocks: Iterable[int]) -> dict[int, Path] | None:
        """Return the file of each of these blocks, whose checksums are right; None if one of them is not saved."""
        found: dict[int, Path] = {}
        for block in blocks:
            folder = self.steps.find(*self._step(block))
            if folder is None:
                return None
            found[block] = folder / _STATISTICS
        return found

    def delete(self, blocks: Iterable[int]) -> None:
        """Delete the statistics of these blocks, once no pass needs them. Those of other settings stay."""
        for block in blocks:
            self.steps.forget(*self._step(block))

    def _step(self, block: int) -> tuple[str, str]:
        return f"{_NAMES[1]}-{block}", self.key


def remove_calibrations(steps: Steps) -> None:
    """Delete all hidden states and statistics of a folder, also those of jobs that were stopped and not continued.

    No result needs them when all passes of a job are finished. Only the process that has the folder alone may call it.
    """
    for name in _NAMES:
        for folder in steps.root.glob(f"{name}-*"):
            remove_folder(folder)
