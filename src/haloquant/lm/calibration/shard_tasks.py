"""Tasks of calibrating one decoder block: fixed shards of windows, which may run in any process.

The division into shards does not depend on the number of workers, and shards are added in their order. So the sums have
the same bytes on one process, on many processes, and on a cluster. `shards` computes and adds
them. This module does not import torch.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Literal

import numpy as np

from haloquant.lm.checkpoint.reader import Checkpoint
from haloquant.records import CalibrationDtype, ValueHessian

SHARD_WINDOWS = 4
"""Windows in a shard. It is fixed, because the order of additions decides how the sums are rounded."""

BlockFisher = Literal["block", "hessian", "none"]
Arrays = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class ModelSource:
    """A checkpoint, and one window from which the arguments of its blocks are recorded.

    Two are equal (so that a worker reuses its cached model) if folder, layout hash and window are equal. `spool` is the
    folder of a file with arguments that depend on tokens (`block_arguments`), where it exists.
    """

    folder: Path
    layout: str  # hash of the configuration, of the position of every tensor, and of the state of every file
    window: bytes  # token ids, int64
    checkpoint: Checkpoint = field(compare=False, repr=False)
    spool: Path | None = field(default=None, compare=False)


@dataclass(frozen=True)
class ShardTask:
    """Run the windows of one shard through one block.

    It comes with two arrays. `states` are the hidden states of its windows before the block, float32 [n, t, hidden];
    `windows` are their tokens, int64 [n, t].
    """

    model: ModelSource
    block: int
    layers: tuple[str, ...]
    first: int  # number of the shard's first window
    fisher: BlockFisher
    seed: int
    value_hessian: ValueHessian = "attention"
    dtype: CalibrationDtype = "float32"  # of the products of layers and attention


@dataclass(frozen=True)
class ShardInputs:
    """Describes the arrays of a finished shard."""

    inputs: Mapping[str, str]  # layer -> name of the input that it reads: the first layer that reads it
    tokens: Mapping[str, int]  # name of the input -> number of summed tokens
    value_terms: Mapping[str, int] = field(default_factory=dict)  # layer with value rows -> tokens times heads


RunShards = Callable[
    [Callable[[ShardTask, Arrays], tuple[ShardInputs, Arrays]], Iterable[tuple[ShardTask, Arrays]]],
    Iterator[tuple[int, ShardInputs, Arrays]],
]


def run_in_order(
    function: Callable[[ShardTask, Arrays], tuple[ShardInputs, Arrays]], tasks: Iterable[tuple[ShardTask, Arrays]]
) -> Iterator[tuple[int, ShardInputs, Arrays]]:
    """Run the shards in this process, one after another; yield the index and the result of each."""
    for index, (task, arrays) in enumerate(tasks):
        yield index, *function(task, arrays)


def model_source(checkpoint: Checkpoint, windows: np.ndarray, spool: Path | None = None) -> ModelSource:
    """Return the data that a worker needs to run the blocks of a checkpoint on windows of this length."""
    layout = sha256((checkpoint.folder / "config.json").read_bytes())
    layout.update(repr(sorted(checkpoint.tensors.items())).encode())
    for file in checkpoint.files:
        if isinstance(file, Path):  # a remote file is pinned to a revision, or named by a URL that does not change
            status = file.stat()
            layout.update(f"{file} {status.st_ino} {status.st_size} {status.st_mtime_ns}".encode())
    window = np.ascontiguousarray(windows[0], np.int64).tobytes()
    return ModelSource(checkpoint.folder, layout.hexdigest(), window, checkpoint, spool)
