"""Calibration, true-sequential rounding and evaluation of models that are never whole in memory: block by block.

The gradient of the model's loss cannot be had so. What stands in for the Fisher is declared in `source`: the
Gauss-Newton diagonal of the block's own output y, F = E over random signs r of (d <r, y> / dW)^2 = sum over outputs of
(dy / dW)^2 (Hutchinson's estimate), divided by the squared norm of y, so that blocks compare by relative error; or the
diagonal of the Hessian, the same for every output.
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
from haloquant.lm.calibration.hessian import Recorder, to_statistics, watch
from haloquant.lm.calibration.shards import BlockFisher, Shards, ShardTask, model_at, one_by_one, see_block
from haloquant.lm.checkpoint.reader import Checkpoint, LinearLayer
from haloquant.lm.evaluation.perplexity import Perplexity, sum_nll
from haloquant.lm.evaluation.rounded_activations import activations_per_token
from haloquant.lm.swap_weights import find_module, get_weight, weight_parameter
from haloquant.records import LayerStatistics

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
    shards: Shards = one_by_one,
    begin: tuple[int, Float32[np.ndarray, "s t h"]] | None = None,
    passed: Callable[[int, Float32[np.ndarray, "s t h"]], None] | None = None,
) -> Iterator[tuple[LinearLayer, LayerStatistics]]:
    """Statistics of every layer of the checkpoint in order of execution, with one decoder block in memory.

    Each block's windows are summed in shards of a fixed size, which are added in order: where they run changes nothing.

    Args:
        checkpoint: an opened model folder.
        windows: calibration windows, as `calibration.cut_windows` gives them.
        fisher: what stands in for the Fisher; `source` of the statistics names it.
        seed: of the random signs.
        scratch: a folder for the hidden states (samples x tokens x hidden x 4 bytes); in memory where None.
        progress: called with blocks done and blocks in all.
        shards: runs the tasks; in this process one after another unless given.
        begin: the block to begin with and the hidden states before it, as `passed` was given them.
        passed: called with a number of blocks passed and the hidden states behind them, once their statistics are out.

    Raises:
        CheckpointError: the model cannot be run block by block, or a tensor cannot be read.
    """
    runner = BlockRunner(checkpoint, windows, scratch)
    start = 0
    if begin is not None:
        start, runner.hidden[:] = begin
    place = model_at(checkpoint, windows)
    source = f"hessian: x x^T of the full-precision model; {SOURCES[fisher]}; {_describe(windows)}"
    for block, layers in _by_block(checkpoint, len(runner.blocks))[start:]:
        task = ShardTask(place, block, tuple(layer.name for layer in layers), 0, fisher, seed)
        recorder = see_block(runner, task, shards, len(windows))
        for layer, known in zip(layers, to_statistics(recorder, source, len(windows)).values(), strict=True):
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
) -> Iterator[tuple[LinearLayer, Float32[np.ndarray, "out in"]]]:
    """Round the layers in order, each with the Hessian of the inputs that the already rounded prefix gives it.

    This is the "true sequential" order of GPTQ: within a block, a dependency group sees the groups before it rounded.

    Args:
        checkpoint: an opened model folder.
        windows: calibration windows.
        rounder: called with a layer, its weight and its statistics (hessian and input maxima, no fisher); returns the
            weight that the layer is to compute with.
        scratch: a folder for the hidden states; in memory where None.
        progress: called with blocks done and blocks in all.

    Yields:
        Each layer with what the rounder made of it.
    """
    runner = BlockRunner(checkpoint, windows, scratch)
    source = f"hessian: x x^T of the rounded prefix; {SOURCES['none']}; {_describe(windows)}"
    for block, layers in _by_block(checkpoint, len(runner.blocks)):
        with runner.loaded(block):
            for _, members in groupby(layers, key=lambda layer: layer.group):
                group = list(members)
                for layer, known in zip(group, _see_group(runner, block, group, source), strict=True):
                    yield layer, _replace(runner, layer, rounder, known)
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
    """Perplexity over full windows with one decoder block in memory; equal to `perplexity` on the model held whole.

    Args:
        checkpoint: an opened model folder.
        windows: consecutive windows of the text (`calibration.cut_windows` with as many samples as there are).
        weight_of: gives the weight a layer is to compute with, or None for the checkpoint's own.
        activation_bits: round the inputs of the checkpoint's layers, one scale per token; not at all where None.
        scratch: a folder for the hidden states; in memory where None.
        progress: called with blocks done and blocks in all.
    """
    runner = BlockRunner(checkpoint, windows, scratch)
    for block, layers in _by_block(checkpoint, len(runner.blocks)):
        names = [layer.name for layer in layers] if activation_bits is not None else []
        with runner.loaded(block), activations_per_token(runner.skeleton.model, names, activation_bits or 8):
            for layer in layers:
                weight = None if weight_of is None else weight_of(layer)
                if weight is not None:
                    _put(runner, layer, weight)
            runner.advance(block)
        if progress is not None:
            progress(block + 1, len(runner.blocks))
    pairs = zip(runner.logits(), windows, strict=True)
    nll = [sum_nll(logits, torch.from_numpy(row[None]))[0] for logits, row in pairs]
    scored = np.full(len(windows), windows.shape[1] - 1, np.int64)
    return Perplexity(np.asarray(nll, np.float64), scored, windows.shape[1], windows.size, "windows as given")


def _by_block(checkpoint: Checkpoint, blocks: int) -> list[tuple[int, list[LinearLayer]]]:
    """Every block with its chosen layers, none where the patterns leave none: it still has to be run."""
    outside = [layer.name for layer in checkpoint.layers if layer.block is None]
    if outside:
        raise InputError(f"block by block, only layers of decoder blocks can be calibrated, not {outside[0]}")
    return [(block, [layer for layer in checkpoint.layers if layer.block == block]) for block in range(blocks)]


class _Seen(Exception):
    """Every layer of the group has its input: the rest of the block need not run."""


def _see_group(runner: BlockRunner, block: int, group: Sequence[LinearLayer], source: str) -> list[LayerStatistics]:
    names = tuple(layer.name for layer in group)
    recorder = Recorder(names, with_gram=True)
    waiting: set[str] = set()

    def count(name: str) -> Callable[..., None]:
        def hook(*_: object) -> None:
            waiting.discard(name)
            if not waiting:
                raise _Seen

        return hook

    model = runner.skeleton.model
    with watch(model, recorder, None), torch.no_grad():
        handles = [find_module(model, name).register_forward_hook(count(name)) for name in names]
        try:
            for index in range(len(runner.windows)):
                waiting.update(names)
                with suppress(_Seen):
                    runner.run(block, runner.states(index))
                recorder.forget_last()
        finally:
            for handle in handles:
                handle.remove()
    return list(to_statistics(recorder, source, len(runner.windows)).values())


def _replace(runner: BlockRunner, layer: LinearLayer, rounder: Rounder, known: LayerStatistics) -> np.ndarray:
    weight = rounder(layer, get_weight(runner.skeleton.model, layer.name), known)
    _put(runner, layer, weight)
    return weight


def _put(runner: BlockRunner, layer: LinearLayer, weight: np.ndarray) -> None:
    parameter, transposed = weight_parameter(runner.skeleton.model, layer.name)
    with torch.no_grad():
        parameter.copy_(torch.from_numpy(np.ascontiguousarray(weight.T if transposed else weight)))


def _hessian_as_fisher(known: LayerStatistics, layer: LinearLayer) -> LayerStatistics:
    if known.hessian is None:
        return known
    diagonal = np.diagonal(known.hessian)
    return replace(known, fisher=np.repeat(diagonal[None], layer.out_features, axis=0))


def _describe(windows: np.ndarray) -> str:
    return f"{len(windows)} windows of {windows.shape[1]} tokens"
