"""Run a decoder block by block, with the weights of one block in memory at a time.

It is for models whose weights or gradients do not fit in memory. The weights of a block are loaded before it runs and
freed after it. The hidden states of all windows are kept between blocks, in memory or in a scratch file. A model passes
other arguments to its blocks besides the hidden states (masks, rotary tables); they are recorded by running the model
once with a stub in place of each block. Some models derive arguments from the tokens (embeddings for each block, token
ids that choose experts); for these they are recorded for every window, in a temporary file (`block_arguments`). What a
block hands on to later ones besides the hidden states is kept for every window (`handed_on`).
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

import numpy as np
import torch
from jaxtyping import Int64

from haloquant.errors import CheckpointError, HaloquantError, first_line
from haloquant.kernels.device_copies import to_device, to_host
from haloquant.kernels.device_errors import explained
from haloquant.lm.calibration.block_arguments import Arguments, BlockArguments, moved, same_tensors
from haloquant.lm.calibration.empty_model import EmptyModel
from haloquant.lm.calibration.handed_on import ArgumentRecorder, BlockOutput, Handed, Links
from haloquant.lm.checkpoint.reader import Checkpoint


class _StopForward(Exception):
    """Ends a forward pass when it reaches the requested block."""


class _OtherOutput(Exception):
    """The model expects its blocks to return something else."""


# What block number `block` returns, in the models of transformers: hidden states alone, or first in a tuple.
_OUTPUTS: tuple[Callable[[torch.Tensor, int], Any], ...] = (
    lambda states, _: states,
    lambda states, _: (states,),
    lambda states, block: (states, BlockOutput(block, 1)),
    lambda states, block: (states, BlockOutput(block, 1), BlockOutput(block, 2)),
)


class BlockRunner:
    """A decoder whose blocks are loaded one at a time, with the hidden states of all windows before the next block.

    `hidden` is float32 [windows, tokens, hidden]; a model with several residual streams has one more axis. `handed` has
    what the blocks of a window hand on besides, by name (`handed_on`); it is empty in most families. Blocks compute on
    `device`; hidden states and everything outside the blocks stay in the memory of the CPU.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        windows: Int64[np.ndarray, "s t"],
        scratch: Path | None = None,
        device: str = "cpu",
        spool: Path | None = None,
    ) -> None:
        """Build the model without weights, and embed the windows.

        Args:
            checkpoint: an opened model folder.
            windows: windows of tokens.
            scratch: folder for the file of the hidden states; in memory where None.
            device: torch's name of the device on which blocks compute.
            spool: folder for the file of arguments that depend on the tokens; as `scratch` where None, then the
                system's folder for temporary files.

        Raises:
            CheckpointError: The model cannot be run block by block, or a tensor cannot be read.
        """
        self.windows, self.device = windows, torch.device(device)
        self.empty_model = EmptyModel(checkpoint)
        self.blocks = self.empty_model.blocks
        self._shape_output = _OUTPUTS[0]
        self.handed: list[Handed] = [{} for _ in windows]
        self._outside = self.empty_model.outside_blocks(with_head=False)  # while no block is loaded
        with self._sentences(), self._outside_filled():
            self._arguments = self._learn_arguments(windows[0])
            fixed = same_tensors(self._arguments, self._learn_arguments(_other_tokens(windows[0])))
            self._of_window = None if fixed else BlockArguments(self._arguments, spool or scratch)
            self._links = Links(self._arguments)
            self._shape = self._embed(0).shape
            if 1 not in self._shape:
                raise ValueError(_NO_STATES)
            streams = self._shape.index(1)  # the axis of the windows comes behind that of residual streams, if any
            self.hidden = _hidden_states((len(windows), *self._shape[:streams], *self._shape[streams + 1 :]), scratch)
            for index in range(len(windows)):
                states = self._embed(index)
                if states.shape != self._shape:
                    raise ValueError(
                        f"its blocks read hidden states of {list(self._shape)} for one window, and of "
                        f"{list(states.shape)} for another"
                    )
                self.hidden[index] = states.reshape(self.hidden.shape[1:]).numpy()

    def learn(self, windows: Int64[np.ndarray, "n t"]) -> None:
        """Record the arguments of all blocks for these windows, if they depend on the tokens.

        It reads the weights outside the blocks once for all of them, and so it is called before a block runs on them.

        Raises:
            CheckpointError: A tensor cannot be read.
        """
        known = self._of_window
        missing = [] if known is None else [tokens for tokens in windows if tokens not in known]
        if known is None or not missing:
            return
        with self._sentences(), self._outside_filled():
            for tokens in missing:
                known.keep(tokens, self._learn_arguments(tokens))

    @contextmanager
    def loaded(self, block: int) -> Iterator[torch.nn.Module]:
        """Within the `with` block, decoder block number `block` has its weights, on the runner's device."""
        module = self.blocks[block]
        with self.empty_model.filled(self.empty_model.parameters_of(module), self.device):
            yield module if self.device.type == "cpu" else module.to(self.device)

    def run(
        self,
        block: int,
        states: torch.Tensor,
        tokens: Int64[np.ndarray, " t"],
        handed: Handed | None = None,
    ) -> torch.Tensor:
        """Return the output of a loaded block for hidden states [1, t, hidden] of a window of these tokens.

        Args:
            block: number of the block.
            states: hidden states of one window, in the shape that the model gives them.
            tokens: the window.
            handed: what earlier blocks handed on for this window; it gets what this block hands on.

        Raises:
            CheckpointError: The block cannot be run.
        """
        if self._of_window is None:
            own = self._arguments[block]
        else:
            self.learn(tokens[None])
            own = self._of_window.read(tokens, block)
        if own is None:  # the model passes over this block where it reads text alone
            return states
        kept = {} if handed is None else handed
        with self._sentences(), explained(f"running block {block}", str(self.device)):
            (args, kwargs), mappings = self._links.given(moved(own, self.device), kept, self.device)
            output = self.blocks[block](states.to(self.device), *args, **kwargs)
            self._links.keep(block, output, mappings, kept)
        return output[0] if isinstance(output, tuple | list) else output

    def states(self, index: int) -> torch.Tensor:
        """Return a copy of the hidden states of window `index`, as the model gives them: mostly [1, t, hidden]."""
        return self.as_given(self.hidden[index])

    def as_given(self, states: np.ndarray) -> torch.Tensor:
        """Return a copy of the hidden states of one window [t, hidden] in the shape that the model gives them."""
        return torch.from_numpy(np.array(states).reshape(self._shape))

    def advance(self, block: int) -> None:
        """Run a loaded block on every window and replace the hidden states by its output."""
        self.learn(self.windows)
        with torch.no_grad():
            for index in range(len(self.windows)):
                states = to_device(self.states(index).numpy(), self.device)
                output = self.run(block, states, self.windows[index], self.handed[index])
                to_host(output.float().reshape(self.hidden.shape[1:]), into=self.hidden[index])

    def logits(self) -> Iterator[torch.Tensor]:
        """Yield the logits of each window, [1, t, vocabulary]. Call it after the last block has run."""
        last = len(self.blocks) - 1
        with self.empty_model.filled(self.empty_model.outside_blocks(with_head=True)):
            for index in range(len(self.windows)):
                states = self.states(index)
                with self._stubs(lambda block, given, _, states=states: states if block == last else given):
                    yield self._forward(self.windows[index]).logits

    def _outside_filled(self) -> AbstractContextManager[None]:
        return self.empty_model.filled(self._outside)

    def _learn_arguments(self, tokens: np.ndarray) -> list[Arguments | None]:
        """Return the arguments of each block for a window; None for a block that the model passes over."""
        errors: list[Exception] = []
        for self._shape_output in _OUTPUTS:
            seen: dict[int, Arguments] = {}
            recorder, before = ArgumentRecorder(), list[torch.Tensor]()

            def note(
                block: int, given: torch.Tensor, arguments: Arguments,
                seen: dict[int, Arguments] = seen, recorder: ArgumentRecorder = recorder,
                before: list[torch.Tensor] = before,
            ) -> torch.Tensor:  # fmt: skip
                if block in seen:
                    raise self._refusal(f"it runs block {block} several times")
                if before and before[-1] is not given and not torch.equal(before[-1], given):
                    raise self._refusal(f"it changes hidden states before block {block}, outside the blocks")
                seen[block] = recorder.noted(arguments)
                before.append(given)
                return given

            try:
                with self._stubs(note), self._no_head():
                    self._forward(tokens)
            except _StopForward:
                pass
            except HaloquantError:
                raise
            except Exception as error:  # of any code of the model; what comes behind the last block does not matter
                if len(seen) < len(self.blocks):
                    if not isinstance(error, _OtherOutput | ValueError | TypeError | IndexError | AttributeError):
                        raise
                    errors.append(error)
                    continue  # the model expects its blocks to return something else
            return [seen.get(block) for block in range(len(self.blocks))]
        if not isinstance(errors[0], _OtherOutput) and len({str(error) for error in errors}) == 1:
            raise errors[0]  # it is not about what blocks return
        raise ValueError(_NO_STATES)

    @contextmanager
    def _no_head(self) -> Iterator[None]:
        """Within the `with` block, a forward pass ends where it reaches the head."""

        def stop(*_: Any, **__: Any) -> Any:
            raise _StopForward

        head = self.empty_model.model.get_output_embeddings()
        try:
            if head is not None:
                head.forward = stop
            yield
        finally:
            if head is not None:
                head.__dict__.pop("forward", None)

    @contextmanager
    def _sentences(self) -> Iterator[None]:
        """Turn an error of the model's own code into a sentence."""
        try:
            yield
        except HaloquantError:
            raise
        except (RuntimeError, ValueError, TypeError, LookupError, AttributeError, ArithmeticError) as error:
            raise self._refusal(first_line(error)) from error

    def _refusal(self, reason: str) -> CheckpointError:
        checkpoint = self.empty_model.checkpoint
        return CheckpointError(
            f"{checkpoint.folder} ({checkpoint.architecture.model_type}) must run block by block to be calibrated, "
            f"but: {reason}; quantize it without calibration (--calibration none)"
        )

    def _embed(self, index: int) -> torch.Tensor:
        """Return the input of the first block for window `index`, mostly [1, t, hidden]."""
        kept: list[torch.Tensor] = []

        def keep(_block: int, given: torch.Tensor, _arguments: Arguments) -> torch.Tensor:
            kept.append(given)
            raise _StopForward

        try:
            with self._stubs(keep):
                self._forward(self.windows[index])
        except _StopForward:
            pass
        return kept[0].float()

    def _forward(self, tokens: np.ndarray) -> Any:
        with torch.no_grad():
            return self.empty_model.model(input_ids=torch.from_numpy(np.array(tokens[None])), use_cache=False)

    @contextmanager
    def _stubs(self, answer: Callable[[int, torch.Tensor, Arguments], torch.Tensor]) -> Iterator[None]:
        """Within the `with` block, every decoder block calls `answer` instead of computing."""

        def stub(block: int) -> Callable[..., Any]:
            def forward(*args: Any, **kwargs: Any) -> Any:
                given = args[0] if args else kwargs.pop("hidden_states")
                if not isinstance(given, torch.Tensor) or given.ndim < 3:
                    raise _OtherOutput
                result = answer(block, given, (args[1:], kwargs))
                return self._shape_output(result, block)

            return forward

        try:
            for block, module in enumerate(self.blocks):
                module.forward = stub(block)  # type: ignore[method-assign]
            yield
        finally:
            for module in self.blocks:
                module.__dict__.pop("forward", None)


_NO_STATES = "it passes no hidden states of [samples, tokens, width] from block to block"


def _other_tokens(tokens: np.ndarray) -> np.ndarray:
    """Return a window of as many tokens that is not this window."""
    turned = np.ascontiguousarray(tokens[::-1])
    return turned if (turned != tokens).any() else np.where(tokens > 0, tokens - 1, 1)


def _hidden_states(shape: tuple[int, ...], scratch: Path | None) -> np.ndarray:
    """Return an empty float32 array [windows, tokens, hidden], in memory or in a file of the folder `scratch`."""
    if scratch is None:
        return np.empty(shape, np.float32)
    with TemporaryFile(dir=scratch) as file:  # the memory map keeps the deleted file open
        return np.memmap(file, np.float32, "w+", shape=shape)
