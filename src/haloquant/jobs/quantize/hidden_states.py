"""The hidden states after a decoder block, saved as steps, so that a stopped pass can continue from its last block."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from haloquant.lm.checkpoint.reader import LinearLayer
from haloquant.store.arrays import load_arrays, save_arrays
from haloquant.store.finished_steps import Steps
from haloquant.store.temporary_paths import remove_folder


@dataclass(frozen=True)
class StoredStates:
    """The saved hidden states of one pass; `name` is that of the pass."""

    steps: Steps
    key: str
    name: str

    @property
    def _prefix(self) -> str:
        return f"states-{self.name.replace(' ', '-')}"

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

    def delete_all(self) -> None:
        """Delete all states of the pass, once every layer is finished."""
        for folder in self.steps.root.glob(f"{self._prefix}-*"):
            remove_folder(folder)
