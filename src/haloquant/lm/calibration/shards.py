"""Calibration of one decoder block cut into shards of windows: tasks that may run anywhere, and their sum.

The shards are the same however many workers there are, and are added in their order, so that the sums have the same
bytes on one process, on many, and on a cluster.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from haloquant.lm.calibration.block_runner import BlockRunner
from haloquant.lm.calibration.hessian import InputSums, Recorder, watch
from haloquant.lm.calibration.shard_size import SHARD_WINDOWS
from haloquant.lm.checkpoint.reader import Checkpoint

BlockFisher = Literal["block", "hessian", "none"]
Arrays = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class ModelAt:
    """A checkpoint and one window to learn its blocks' arguments from; equal where folder, layout and window are."""

    folder: Path
    layout: str  # hash of the configuration and of what lies where
    window: bytes  # int64 tokens
    checkpoint: Checkpoint = field(compare=False, repr=False)


@dataclass(frozen=True)
class ShardTask:
    """The windows of one shard through one block. Its arrays: `states`, their hidden states [n, t, hidden]."""

    model: ModelAt
    block: int
    layers: tuple[str, ...]
    first: int  # number of the shard's first window
    fisher: BlockFisher
    seed: int


@dataclass(frozen=True)
class Seen:
    """What a shard's arrays are: which input each layer reads, and over how many tokens that was summed."""

    inputs: Mapping[str, str]
    tokens: Mapping[str, int]


Shards = Callable[
    [Callable[[ShardTask, Arrays], tuple[Seen, Arrays]], Iterable[tuple[ShardTask, Arrays]]],
    Iterator[tuple[int, Seen, Arrays]],
]


def one_by_one(
    function: Callable[[ShardTask, Arrays], tuple[Seen, Arrays]], works: Iterable[tuple[ShardTask, Arrays]]
) -> Iterator[tuple[int, Seen, Arrays]]:
    """Run the shards in this process."""
    for index, (task, arrays) in enumerate(works):
        yield index, *function(task, arrays)


def see_shard(task: ShardTask, arrays: Arrays) -> tuple[Seen, Arrays]:
    """Sums over the windows of a shard, and their hidden states behind the block."""
    runner = _runner(task.model)
    states = np.empty_like(arrays["states"])
    recorder = Recorder(task.layers, with_gram=True)
    gradients = "sample" if task.fisher == "block" else None
    with runner.loaded(task.block), watch(runner.skeleton.model, recorder, gradients):
        for index in range(len(states)):
            given = torch.from_numpy(np.array(arrays["states"][index : index + 1]))
            signs = None if gradients is None else _signs(task, task.first + index)
            states[index] = _see(runner, task.block, given, signs)
            recorder.forget_last()
    seen, sums = _as_arrays(recorder)
    return seen, {"states": states, **sums}


def see_block(runner: BlockRunner, task: ShardTask, shards: Shards, windows: int) -> Recorder:
    """The sums of a block over all windows, shard after shard; the runner's hidden states become the block's output.

    Args:
        runner: holds the hidden states of all windows before the block.
        task: of the first shard; the others differ in `first`.
        shards: how tasks are run; their results may come in any order.
        windows: how many there are.
    """
    starts = range(0, windows, SHARD_WINDOWS)

    def works() -> Iterator[tuple[ShardTask, Arrays]]:
        for first in starts:
            states = np.array(runner.hidden[first : first + SHARD_WINDOWS])
            yield ShardTask(task.model, task.block, task.layers, first, task.fisher, task.seed), {"states": states}

    total = Recorder(task.layers, with_gram=True)
    early: dict[int, tuple[Seen, Arrays]] = {}
    due = 0
    for index, seen, arrays in shards(see_shard, works()):
        early[index] = (seen, arrays)
        while due in early:
            seen, arrays = early.pop(due)
            first = starts[due]
            runner.hidden[first : first + SHARD_WINDOWS] = arrays["states"]
            _add(total, seen, arrays)
            due += 1
    return total


@lru_cache(maxsize=1)
def _runner(model: ModelAt) -> BlockRunner:
    """The model's code without weights; kept between the tasks of a worker, as building it takes seconds."""
    return BlockRunner(model.checkpoint, np.frombuffer(model.window, np.int64)[None].copy())


def _signs(task: ShardTask, window: int) -> torch.Generator:
    """Random signs of one window at one block, the same whoever draws them."""
    digest = sha256(f"{task.seed}/{task.block}/{window}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)


def _see(runner: BlockRunner, block: int, states: torch.Tensor, signs: torch.Generator | None) -> np.ndarray:
    """Run one window through a loaded block, with hooks on; what comes out, [t, hidden]."""
    if signs is None:
        with torch.no_grad():
            output = runner.run(block, states)
    else:
        output = runner.run(block, states.requires_grad_(True))
        probe = torch.randint(0, 2, output.shape, generator=signs).to(output.dtype).mul_(2).sub_(1)
        output.backward(probe / output.detach().norm(), inputs=[states])
    return output.detach()[0].float().numpy()


def _as_arrays(recorder: Recorder) -> tuple[Seen, dict[str, np.ndarray]]:
    """A recorder as plain arrays; an input that layers share stands once, under the first of them."""
    names: dict[int, str] = {}
    inputs: dict[str, str] = {}
    tokens: dict[str, int] = {}
    arrays: dict[str, np.ndarray] = {}
    for layer, sums in recorder.inputs.items():
        name = inputs[layer] = names.setdefault(id(sums), layer)
        tokens[name] = sums.tokens
        arrays[f"{name}:absolute"] = sums.absolute.numpy()
        arrays[f"{name}:largest"] = sums.largest.numpy()
        if sums.gram is not None:
            arrays[f"{name}:gram"] = sums.gram.numpy()
    arrays |= {f"{layer}:squares": squares.numpy() for layer, squares in recorder.squares.items()}
    return Seen(inputs, tokens), arrays


def _add(total: Recorder, seen: Seen, arrays: Arrays) -> None:
    """Add one shard to the sums so far."""
    fresh = [layer for layer in seen.inputs if layer not in total.inputs]
    for layer in fresh:
        name = seen.inputs[layer]
        if name in total.inputs and name != layer:
            total.inputs[layer] = total.inputs[name]
        else:
            total.inputs[layer] = InputSums.zeros(
                arrays[f"{name}:largest"].size, torch.device("cpu"), f"{name}:gram" in arrays
            )
    for name, count in seen.tokens.items():
        sums = total.inputs[name]
        sums.tokens += count
        sums.absolute += torch.from_numpy(arrays[f"{name}:absolute"])
        sums.largest = torch.maximum(sums.largest, torch.from_numpy(arrays[f"{name}:largest"]))
        if sums.gram is not None:
            sums.gram += torch.from_numpy(arrays[f"{name}:gram"])
    for layer in total.layers:
        if f"{layer}:squares" in arrays:
            part = torch.from_numpy(arrays[f"{layer}:squares"])
            total.squares[layer] = total.squares[layer].add_(part) if layer in total.squares else part


def model_at(checkpoint: Checkpoint, windows: np.ndarray) -> ModelAt:
    """What a worker needs to run the blocks of a checkpoint on windows of this length."""
    layout = sha256((checkpoint.folder / "config.json").read_bytes())
    layout.update(repr(sorted(checkpoint.tensors.items())).encode())
    window = np.ascontiguousarray(windows[0], np.int64).tobytes()
    return ModelAt(checkpoint.folder, layout.hexdigest(), window, checkpoint)
