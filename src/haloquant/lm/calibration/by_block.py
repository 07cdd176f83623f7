"""Calibration, true-sequential rounding and perplexity of models that do not fit in memory, one block at a time.

The gradient of the model's loss is not available in this way. The field `source` of the statistics names the quantity
that replaces the Fisher information:
- "block": the Gauss-Newton diagonal of the block's output y by Hutchinson's estimate,
  F = E over random signs r of (d <r, y> / dW)^2 = sum over outputs of (dy / dW)^2, divided by the squared norm of y, so
  that blocks are compared by relative error;
- "hessian": the diagonal of the Hessian, the same for every output.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import groupby
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float32, Int64

from haloquant.errors import InputError
from haloquant.lm.calibration.block_runner import BlockRunner
from haloquant.lm.calibration.expert_stand_ins import with_stand_ins
from haloquant.lm.calibration.hessian import Recorder, record, to_statistics
from haloquant.lm.calibration.shard_tasks import BlockFisher, RunShards, ShardTask, model_source, run_in_order
from haloquant.lm.calibration.shards import sum_block, sum_block_at_once
from haloquant.lm.calibration.value_hessian import ValueRecorder
from haloquant.lm.checkpoint.reader import Checkpoint, LinearLayer
from haloquant.lm.evaluation.perplexity import Perplexity, sum_nll
from haloquant.lm.evaluation.rounded_activations import activations_per_token
from haloquant.lm.swap_weights import find_module, get_weight, set_weight
from haloquant.records import LayerStatistics, ValueHessian

Progress = Callable[[int, int], None]
Rounder = Callable[[LinearLayer, Float32[np.ndarray, "out in"], LayerStatistics], Float32[np.ndarray, "out in"]]
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
    passed: Callable[[int, Float32[np.ndarray, "s t h"]], None] | None = None,
    value_hessian: ValueHessian = "attention",
    device: str = "cpu",
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
            states after them.
        value_hessian: "attention" weights the Hessian of value rows by attention; "inputs" sums x x^T for them too.
        device: "cpu", or a GPU ("cuda:0"), on which the block and its sums are then, and `shards` is not used. The sums
            are float32 on either, and differ in their last digits.

    Yields:
        Each layer with its statistics.

    Raises:
        CheckpointError: The model cannot be run block by block, or a tensor cannot be read.
    """
    runner = BlockRunner(checkpoint, windows, scratch, device)
    start = 0
    if begin is not None:
        start, runner.hidden[:] = begin
    model = model_source(checkpoint, windows)
    source = f"hessian: x x^T of the full-precision model; {SOURCES[fisher]}; {_describe(windows)}"
    for block, layers in layers_by_block(checkpoint, len(runner.blocks))[start:]:
        task = ShardTask(model, block, tuple(layer.name for layer in layers), 0, fisher, seed, value_hessian)
        at_once = device != "cpu"
        recorder = sum_block_at_once(runner, task) if at_once else sum_block(runner, task, shards, len(windows))
        measured = to_statistics(recorder, source, len(windows))
        measured = with_stand_ins(measured, {layer.name: layer.in_features for layer in layers})
        for layer, known in zip(layers, measured.values(), strict=True):
            yield layer, _hessian_as_fisher(known, layer) if fisher == "hessian" else known
        del recorder
        if passed is not None:
            passed(block + 1, runner.hidden)
        if progress is not None:
            progress(block + 1, len(runner.blocks))


def round_by_block(
    checkpoint: Checkpoint,
    windows: Int64[np.ndarray, "s t"],
    rounder: Rounder,
    scratch: Path | None = None,
    progress: Progress | None = None,
    value_hessian: ValueHessian = "attention",
) -> Iterator[tuple[LinearLayer, Float32[np.ndarray, "out in"]]]:
    """Round the layers in order of execution, each with the Hessian of its inputs in the already rounded model.

    This is the "true sequential" order of GPTQ (arXiv 2210.17323): within a block, the inputs of a dependency group are
    computed with the rounded weights of all groups before it.

    Args:
        checkpoint: an opened model folder.
        windows: calibration windows.
        rounder: called with a layer, its weight and its statistics (hessian and input maxima, no fisher); returns the
            rounded weight, which later layers see.
        scratch: folder for the hidden states; in memory where None.
        progress: called with the number of blocks done and of all blocks.
        value_hessian: as in `collect_by_block`.

    Yields:
        Each layer with its rounded weight.
    """
    runner = BlockRunner(checkpoint, windows, scratch)
    source = f"hessian: x x^T of the rounded prefix; {SOURCES['none']}; {_describe(windows)}"
    for block, layers in layers_by_block(checkpoint, len(runner.blocks)):
        with runner.loaded(block):
            for number, members in groupby(layers, key=lambda layer: layer.group):
                group = list(members)
                later = [layer.name for layer in layers if layer.group > number]
                found = _record_group(runner, block, group, later, source, value_hessian)
                for layer, known in zip(group, found, strict=True):
                    yield layer, _round(runner, layer, rounder, known)
            runner.advance(block)
        if progress is not None:
            progress(block + 1, len(runner.blocks))


def perplexity_by_block(
    checkpoint: Checkpoint,
    windows: Int64[np.ndarray, "s t"],
    weight_of: Callable[[LinearLayer], Float32[np.ndarray, "out in"] | None] | None = None,
    activation_bits: int | None = None,
    scratch: Path | None = None,
    progress: Progress | None = None,
) -> Perplexity:
    """Perplexity over full windows with one decoder block in memory; equal to `perplexity` of the whole model.

    Args:
        checkpoint: an opened model folder.
        windows: consecutive windows of the text (`in_memory.cut_windows` with as many samples as there are windows).
        weight_of: returns the weight that a layer computes with, or None for the checkpoint's own.
        activation_bits: bits of the rounded inputs of the layers, one scale per token; not rounded where None.
        scratch: folder for the hidden states; in memory where None.
        progress: called with the number of blocks done and of all blocks.
    """
    runner = BlockRunner(checkpoint, windows, scratch)
    for block, layers in layers_by_block(checkpoint, len(runner.blocks)):
        names = [layer.name for layer in layers] if activation_bits is not None else []
        with runner.loaded(block), activations_per_token(runner.empty_model.model, names, activation_bits or 8):
            for layer in layers:
                weight = None if weight_of is None else weight_of(layer)
                if weight is not None:
                    set_weight(runner.empty_model.model, layer.name, weight)
            runner.advance(block)
        if progress is not None:
            progress(block + 1, len(runner.blocks))
    pairs = zip(runner.logits(), windows, strict=True)
    nll = [sum_nll(logits, torch.from_numpy(row[None]))[0] for logits, row in pairs]
    scored = np.full(len(windows), windows.shape[1] - 1, np.int64)
    return Perplexity(np.asarray(nll, np.float64), scored, windows.shape[1], windows.size, "windows as given")


def layers_by_block(checkpoint: Checkpoint, blocks: int) -> list[tuple[int, list[LinearLayer]]]:
    """Return every block with its selected layers. A block without selected layers is included, since it must run."""
    outside = [layer.name for layer in checkpoint.layers if layer.block is None]
    if outside:
        raise InputError(f"block by block, only layers of decoder blocks can be calibrated, not {outside[0]}")
    return [(block, [layer for layer in checkpoint.layers if layer.block == block]) for block in range(blocks)]


class _AllRecorded(Exception):
    """Ends the run of a block once every layer of the group has recorded its input."""


def _record_group(
    runner: BlockRunner,
    block: int,
    group: Sequence[LinearLayer],
    later: Sequence[str],
    source: str,
    value_hessian: ValueHessian,
) -> list[LayerStatistics]:
    """Return the statistics of the layers of a group. A block runs until a `later` layer needs the group's outputs."""
    names = tuple(layer.name for layer in group)
    recorder = Recorder(names, with_gram=True, values=ValueRecorder() if value_hessian == "attention" else None)
    waiting: set[str] = set()

    def count(name: str) -> Callable[..., None]:
        return lambda *_: waiting.discard(name)

    def stop(*_: object) -> None:
        if not waiting:
            raise _AllRecorded

    model = runner.empty_model.model
    with record(model, recorder, None), torch.no_grad():
        handles = [find_module(model, name).register_forward_hook(count(name)) for name in names]
        handles += [find_module(model, name).register_forward_pre_hook(stop) for name in later]
        try:
            for index in range(len(runner.windows)):
                waiting.update(names)
                with suppress(_AllRecorded):
                    runner.run(block, runner.states(index))
                recorder.forget_last()
        finally:
            for handle in handles:
                handle.remove()
    measured = to_statistics(recorder, source, len(runner.windows))
    return list(with_stand_ins(measured, {layer.name: layer.in_features for layer in group}).values())


def _round(runner: BlockRunner, layer: LinearLayer, rounder: Rounder, known: LayerStatistics) -> np.ndarray:
    weight = rounder(layer, get_weight(runner.empty_model.model, layer.name), known)
    set_weight(runner.empty_model.model, layer.name, weight)
    return weight


def _hessian_as_fisher(known: LayerStatistics, layer: LinearLayer) -> LayerStatistics:
    if known.hessian is None:
        return known
    diagonal = np.diagonal(known.hessian)
    return replace(known, fisher=np.repeat(diagonal[None], layer.out_features, axis=0))


def _describe(windows: np.ndarray) -> str:
    return f"{len(windows)} windows of {windows.shape[1]} tokens"
