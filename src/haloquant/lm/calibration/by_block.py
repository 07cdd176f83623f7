"""Calibration and perplexity of models that do not fit in memory, one block at a time.

The gradient of the model's loss is not available in this way. The field `source` of the statistics names the quantity
that replaces the Fisher information:
- "block": the Gauss-Newton diagonal of the block's output y by Hutchinson's estimate,
  F = E over random signs r of (d <r, y> / dW)^2 = sum over outputs of (dy / dW)^2, divided by the squared norm of y, so
  that blocks are compared by relative error;
- "hessian": the diagonal of the Hessian, the same for every output.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float32, Int64

from haloquant.errors import InputError
from haloquant.lm.calibration.block_runner import BlockRunner
from haloquant.lm.calibration.expert_stand_ins import with_stand_ins
from haloquant.lm.calibration.hessian import to_statistics
from haloquant.lm.calibration.shard_tasks import BlockFisher, RunShards, ShardTask, model_source, run_in_order
from haloquant.lm.calibration.shards import sum_block, sum_block_at_once
from haloquant.lm.checkpoint.reader import Checkpoint, LinearLayer
from haloquant.lm.evaluation.perplexity import Perplexity, check_finite, sum_nll
from haloquant.lm.evaluation.rounded_activations import activations_per_token
from haloquant.records import CalibrationDtype, LayerStatistics, ValueHessian

Progress = Callable[[int, int], None]
SOURCES = {
    "block": "fisher: layer-wise fallback, Gauss-Newton diagonal of each block's relative output error (random signs), "
    "not the gradient of the loss",
    "hessian": "fisher: layer-wise fallback, diagonal of the Hessian, the same for every output",
    "none": "no fisher",
}


def collect_by_block(
    checkpoint: Checkpoint,
    windows: Int64[np.ndarray, "s t"],
    fisher: BlockFisher = "block",
    seed: int = 0,
    scratch: Path | None = None,
    progress: Progress | None = None,
    shards: RunShards = run_in_order,
    begin: tuple[int, Float32[np.ndarray, "s t h"]] | None = None,
    passed: Callable[[int, Float32[np.ndarray, "s t h"] | None], None] | None = None,
    value_hessian: ValueHessian = "attention",
    dtype: CalibrationDtype = "float32",
    device: str = "cpu",
    turn: Callable[[], AbstractContextManager[None]] = nullcontext,
    spool: Path | None = None,
) -> Iterator[tuple[LinearLayer, LayerStatistics]]:
    """Yield the statistics of every layer of the checkpoint in order of execution, with one block in memory.

    The windows of a block are summed in shards of a fixed size, and the shards are added in order. So the sums do not
    depend on where the shards run.

    Args:
        checkpoint: an opened model folder.
        windows: calibration windows, as `in_memory.cut_windows` returns them.
        fisher: the quantity that replaces the Fisher information; `source` of the statistics names it.
        seed: seed of the random signs.
        scratch: folder for the hidden states (samples x tokens x hidden x 4 bytes); in memory where None.
        progress: called with the number of blocks done and of all blocks.
        shards: runs the tasks; by default one after another in this process.
        begin: the first block to run and the hidden states before it, as `passed` received them. From block 0 where
            None.
        passed: called after the statistics of a block were yielded, with the number of finished blocks and the hidden
            states after them; with None where blocks handed on more than those, so that it cannot begin there.
        value_hessian: "attention" weights the Hessian of value rows by attention; "inputs" sums x x^T for them too.
        dtype: type of the products of layers and attention (`kernels.bfloat16_products`), and of the operands of sums
            over tokens, whose results are float32.
        device: "cpu", or a GPU ("cuda:0"), on which the block and its sums are then, and `shards` is not used. The sums
            are float32 on either, and differ in their last digits.
        turn: returns a context in which this process has the GPU alone; entered for each block.
        spool: folder for the file of arguments that depend on the tokens (`block_runner`).

    Yields:
        Each layer with its statistics.

    Raises:
        CheckpointError: The model cannot be run block by block, or a tensor cannot be read.
    """
    runner = BlockRunner(checkpoint, windows, scratch, device, spool)
    start = 0
    if begin is not None:
        start, runner.hidden[:] = begin
    model = model_source(checkpoint, windows, spool or scratch)
    source = f"hessian: x x^T of the full-precision model; {SOURCES[fisher]}; {_describe(windows)}"
    if dtype != "float32":
        source += f"; products of {dtype}"
    for block, layers in layers_by_block(checkpoint, len(runner.blocks))[start:]:
        task = ShardTask(model, block, tuple(layer.name for layer in layers), 0, fisher, seed, value_hessian, dtype)
        with nullcontext() if device == "cpu" else turn():
            at_once = device != "cpu"
            recorder = sum_block_at_once(runner, task) if at_once else sum_block(runner, task, shards, len(windows))
            measured = to_statistics(recorder, source, len(windows))
            del recorder  # a GPU needs the memory of its sums for the layers that are rounded now
        measured = with_stand_ins(measured, {layer.name: layer.in_features for layer in layers})
        for layer, known in zip(layers, measured.values(), strict=True):
            yield layer, _hessian_as_fisher(known, layer) if fisher == "hessian" else known
        if passed is not None:
            passed(block + 1, None if any(runner.handed) else runner.hidden)
        if progress is not None:
            progress(block + 1, len(runner.blocks))


def perplexity_by_block(
    checkpoint: Checkpoint,
    windows: Int64[np.ndarray, "s t"],
    activation_bits: int | None = None,
    scratch: Path | None = None,
    progress: Progress | None = None,
    device: str = "cpu",
) -> Perplexity:
    """Perplexity over full windows with one decoder block in memory; equal to `perplexity` of the whole model.

    Args:
        checkpoint: an opened model folder.
        windows: consecutive windows of the text (`in_memory.cut_windows` with as many samples as there are windows).
        activation_bits: bits of the rounded inputs of the layers, one scale per token; not rounded where None.
        scratch: folder for the hidden states; in memory where None.
        progress: called with the number of blocks done and of all blocks.
        device: where the blocks compute.

    Raises:
        CheckpointError: The model cannot be run block by block, or a tensor cannot be read.
        InputError: The model gives NaN or infinity.
    """
    runner = BlockRunner(checkpoint, windows, scratch, device)
    runner.learn(windows)  # while no block is loaded
    for block, layers in layers_by_block(checkpoint, len(runner.blocks)):
        names = [layer.name for layer in layers] if activation_bits is not None else []
        with runner.loaded(block), activations_per_token(runner.empty_model.model, names, activation_bits or 8):
            runner.advance(block)
        if progress is not None:
            progress(block + 1, len(runner.blocks))
    pairs = zip(runner.logits(), windows, strict=True)
    nll = [sum_nll(logits, torch.from_numpy(row[None]))[0] for logits, row in pairs]
    check_finite(nll, "float32")
    scored = np.full(len(windows), windows.shape[1] - 1, np.int64)
    return Perplexity(np.asarray(nll, np.float64), scored, windows.shape[1], windows.size, "windows")


def layers_by_block(checkpoint: Checkpoint, blocks: int) -> list[tuple[int, list[LinearLayer]]]:
    """Return every block with its selected layers. A block without selected layers is included, since it must run."""
    outside = [layer.name for layer in checkpoint.layers if layer.block is None]
    if outside:
        raise InputError(f"block by block, only layers of decoder blocks can be calibrated, not {outside[0]}")
    return [(block, [layer for layer in checkpoint.layers if layer.block == block]) for block in range(blocks)]


def _hessian_as_fisher(known: LayerStatistics, layer: LinearLayer) -> LayerStatistics:
    if known.hessian is None:
        return known
    diagonal = np.diagonal(known.hessian)
    return replace(known, fisher=np.repeat(diagonal[None], layer.out_features, axis=0))


def _describe(windows: np.ndarray) -> str:
    return f"{len(windows)} windows of {windows.shape[1]} tokens"
