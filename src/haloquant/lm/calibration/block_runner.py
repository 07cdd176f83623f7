"""Run a decoder block by block with one block in memory, for models whose weights, let alone gradients, do not fit.

The embedding is filled once; each block is filled when it is reached and emptied after it. The hidden states of all
windows are kept between blocks, in memory or in a scratch file. Whatever a model hands to its blocks beside the hidden
states (masks, rotary tables) is learned by running it once with a stub in place of each block.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

import numpy as np
import torch
from jaxtyping import Int64

from haloquant.errors import CheckpointError
from haloquant.lm.calibration.empty_model import Skeleton
from haloquant.lm.checkpoint.reader import Checkpoint

Arguments = tuple[tuple[Any, ...], dict[str, Any]]  # what a block is given after the hidden states


class _Reached(Exception):
    """The forward pass has come as far as was wanted."""


class _WantsTuple(Exception):
    """The model takes the first element of what a block returns."""


class BlockRunner:
    """A decoder whose blocks are loaded one at a time, and the hidden states of all windows at the current depth."""

    def __init__(self, checkpoint: Checkpoint, windows: Int64[np.ndarray, "s t"], scratch: Path | None = None) -> None:
        self.windows = windows
        self.skeleton = Skeleton(checkpoint)
        self.blocks = self.skeleton.blocks
        self._returns_tuple = False
        with self.skeleton.filled(self.skeleton.around(with_head=False)):
            self._arguments = self._learn_arguments()
            width = self._embed(0).shape[-1]
            self.hidden = _hidden_states((*windows.shape, width), scratch)
            for index in range(len(windows)):
                self.hidden[index] = self._embed(index)[0].numpy()

    @contextmanager
    def loaded(self, block: int) -> Iterator[torch.nn.Module]:
        """Within the block of code, decoder block number `block` has its weights."""
        with self.skeleton.filled(self.skeleton.parameters_of(self.blocks[block])):
            yield self.blocks[block]

    def run(self, block: int, states: torch.Tensor) -> torch.Tensor:
        """The output of a loaded block for hidden states [1, t, hidden]."""
        args, kwargs = self._arguments[block]
        output = self.blocks[block](states, *args, **kwargs)
        return output[0] if isinstance(output, tuple) else output

    def states(self, index: int) -> torch.Tensor:
        """A copy of the hidden states of window `index` at the current depth, [1, t, hidden]."""
        return torch.from_numpy(np.array(self.hidden[index : index + 1]))

    def advance(self, block: int) -> None:
        """Replace the hidden states of every window by the output of the loaded block."""
        with torch.no_grad():
            for index in range(len(self.windows)):
                self.hidden[index] = self.run(block, self.states(index))[0].float().numpy()

    def logits(self) -> Iterator[torch.Tensor]:
        """The model's logits of each window, [1, t, vocabulary], once the hidden states have passed the last block."""
        last = len(self.blocks) - 1
        with self.skeleton.filled(self.skeleton.around(with_head=True)):
            for index in range(len(self.windows)):
                states = self.states(index)
                with self._stubs(lambda block, given, _, states=states: states if block == last else given):
                    yield self._forward(index).logits

    def _learn_arguments(self) -> list[Arguments]:
        for self._returns_tuple in (False, True):
            seen: list[Arguments] = []

            def note(
                block: int, given: torch.Tensor, arguments: Arguments, seen: list[Arguments] = seen
            ) -> torch.Tensor:
                seen.append(arguments)
                if block == len(self.blocks) - 1:
                    raise _Reached
                return given

            try:
                with self._stubs(note):
                    self._forward(0)
            except _Reached:
                return seen
            except _WantsTuple:
                continue
        checkpoint = self.skeleton.checkpoint
        raise CheckpointError(
            f"{checkpoint.folder} ({checkpoint.architecture.model_type}) must hand hidden states from block to block "
            "to be run block by block, but does not; load the model whole instead"
        )

    def _embed(self, index: int) -> torch.Tensor:
        """What the first block is given for window `index`."""
        kept: list[torch.Tensor] = []

        def keep(_block: int, given: torch.Tensor, _arguments: Arguments) -> torch.Tensor:
            kept.append(given)
            raise _Reached

        try:
            with self._stubs(keep):
                self._forward(index)
        except _Reached:
            pass
        return kept[0].float()

    def _forward(self, index: int) -> Any:
        with torch.no_grad():
            return self.skeleton.model(input_ids=torch.from_numpy(self.windows[index : index + 1]), use_cache=False)

    @contextmanager
    def _stubs(self, answer: Callable[[int, torch.Tensor, Arguments], torch.Tensor]) -> Iterator[None]:
        """Within the block of code, `answer` stands for every decoder block."""

        def stub(block: int) -> Callable[..., Any]:
            def forward(*args: Any, **kwargs: Any) -> Any:
                given = args[0] if args else kwargs.pop("hidden_states")
                if not isinstance(given, torch.Tensor) or given.ndim != 3:
                    raise _WantsTuple
                result = answer(block, given, (args[1:], kwargs))
                return (result,) if self._returns_tuple else result

            return forward

        try:
            for block, module in enumerate(self.blocks):
                module.forward = stub(block)  # type: ignore[method-assign]
            yield
        finally:
            for module in self.blocks:
                module.__dict__.pop("forward", None)


def _hidden_states(shape: tuple[int, ...], scratch: Path | None) -> np.ndarray:
    """Room for the hidden states of all windows, [windows, tokens, hidden] float32."""
    if scratch is None:
        return np.empty(shape, np.float32)
    with TemporaryFile(dir=scratch) as file:  # the map keeps the file until it is garbage
        return np.memmap(file, np.float32, "w+", shape=shape)
