"""The hidden states behind a decoder block, kept so that a pass that was stopped goes on from the block it was in."""

import shutil
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from haloquant.lm.checkpoint.reader import LinearLayer
from haloquant.store.arrays import load_arrays, save_arrays
from haloquant.store.steps import Steps


@dataclass(frozen=True)
class KeptStates:
    """The states of one pass, as steps."""

    steps: Steps
    key: str
    name: str  # of the pass

    @property
    def _prefix(self) -> str:
        return f"states-{self.name.replace(' ', '-')}"

    def begin(self, missing: Iterable[LinearLayer]) -> tuple[int, np.ndarray] | None:
        """The last kept states before the first block that lacks a layer, and how many blocks they have passed."""
        first = min(layer.block or 0 for layer in missing)
        for blocks in range(first, 0, -1):
            folder = self.steps.find(f"{self._prefix}-{blocks}", self.key)
            if folder is not None:
                return blocks, load_arrays(folder / "states.safetensors")["states"]
        return None

    def passed(self, blocks: int, states: np.ndarray, missing: Iterable[LinearLayer]) -> None:
        """Keep the states behind a block; those that only finished layers came after go."""
        self.steps.run(
            f"{self._prefix}-{blocks}",
            self.key,
            lambda at: save_arrays(at / "states.safetensors", {"states": np.asarray(states)}),
        )
        oldest = min((layer.block or 0 for layer in missing), default=blocks)
        for older in range(blocks - 1, 0, -1):
            if older < oldest:
                self.steps.forget(f"{self._prefix}-{older}", self.key)

    def forget(self) -> None:
        """A pass that is whole needs no place to go on from."""
        for folder in self.steps.root.glob(f"{self._prefix}-*"):
            shutil.rmtree(folder)
