"""Compute the calibration sums of one shard of windows, and add the shards of a block in order.

On a GPU there are no shards: the sums of a block stay on it until all windows have run, since to copy them for each
shard would take longer than to compute them.
"""

from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import replace
from functools import lru_cache

import numpy as np
import torch

from haloquant.kernels.bfloat16_products import Bfloat16Products
from haloquant.kernels.device_copies import to_device, to_host
from haloquant.kernels.float32_products import float32_products
from haloquant.lm.calibration.block_runner import BlockRunner
from haloquant.lm.calibration.handed_on import Handed
from haloquant.lm.calibration.hessian import InputSums, Recorder, record
from haloquant.lm.calibration.random_signs import signs_of_windows
from haloquant.lm.calibration.shard_tasks import SHARD_WINDOWS, Arrays, ModelSource, RunShards, ShardInputs, ShardTask
from haloquant.lm.calibration.value_hessian import ValueRecorder, ValueSums
from haloquant.lm.swap_weights import weight_parameter


def sum_shard(task: ShardTask, arrays: Arrays) -> tuple[ShardInputs, Arrays]:
    """Return the sums over the windows of a shard, and the hidden states after the block."""
    states = np.array(arrays["states"])
    handed = _handed(arrays, len(states))
    recorder = _run_windows(_runner(task.model), task, states, arrays["windows"], handed)
    inputs, sums = _as_arrays(recorder)
    return inputs, {"states": states, **_handed_arrays(handed), **sums}


def sum_block_at_once(runner: BlockRunner, task: ShardTask) -> Recorder:
    """Return the sums of a block over all windows, kept on the runner's device; replace its hidden states.

    Args:
        runner: holds the hidden states of all windows before the block.
        task: the task of the first shard.
    """
    return _run_windows(runner, task, runner.hidden, runner.windows, runner.handed)


def _run_windows(
    runner: BlockRunner, task: ShardTask, states: np.ndarray, windows: np.ndarray, handed: list[Handed]
) -> Recorder:
    """Return the sums over windows [n, t], and replace their hidden states [n, t, hidden] by what the block returns.

    `handed` has what earlier blocks handed on for each window, and then also what this block hands on.
    """
    recorder = _recorder(task)
    runner.learn(windows)
    gradients = "sample" if task.fisher == "block" else None
    numbers = range(task.first, task.first + len(states))
    signs = signs_of_windows(task.seed, task.block, numbers, (1, *states.shape[1:]), runner.device)
    model = runner.empty_model.model
    with runner.loaded(task.block) as block, record(model, recorder, gradients), float32_products():
        if recorder.products is not None:
            weights = {id(weight_parameter(model, layer)[0]) for layer in task.layers}
            recorder.products.leave(x for x in block.parameters() if x.ndim > 1 and id(x) not in weights)
        for index in range(len(states)):
            given = to_device(runner.as_given(states[index]).numpy(), runner.device)
            sign = None if gradients is None else next(signs)
            output = _run_window(runner, task.block, given, windows[index], handed[index], sign, recorder.products)
            to_host(output.float().reshape(states.shape[1:]), into=states[index])
            recorder.forget_last()
    return recorder


def sum_block(runner: BlockRunner, task: ShardTask, shards: RunShards, windows: int) -> Recorder:
    """Return the sums of a block over all windows, and replace the hidden states of the runner by the block's output.

    Args:
        runner: holds the hidden states of all windows before the block.
        task: the task of the first shard; the tasks of the other shards differ in `first`.
        shards: runs the tasks; their results may come in any order.
        windows: number of windows.
    """
    starts = range(0, windows, SHARD_WINDOWS)

    def tasks() -> Iterator[tuple[ShardTask, Arrays]]:
        for first in starts:
            part = slice(first, first + SHARD_WINDOWS)
            arrays = {"states": np.array(runner.hidden[part]), "windows": runner.windows[part]}
            yield replace(task, first=first), arrays | _handed_arrays(runner.handed[part])

    total = _recorder(task)
    waiting: dict[int, tuple[ShardInputs, Arrays]] = {}
    following = 0
    for index, inputs, arrays in shards(sum_shard, tasks()):
        waiting[index] = (inputs, arrays)
        while following in waiting:
            inputs, arrays = waiting.pop(following)
            first = starts[following]
            part = slice(first, first + SHARD_WINDOWS)
            runner.hidden[part] = arrays["states"]
            runner.handed[part] = _handed(arrays, len(arrays["states"]))
            _add(total, inputs, arrays)
            following += 1
    return total


def _recorder(task: ShardTask) -> Recorder:
    weighted = task.value_hessian == "attention"
    products = Bfloat16Products() if task.dtype == "bfloat16" else None
    return Recorder(task.layers, with_gram=True, values=ValueRecorder() if weighted else None, products=products)


@lru_cache(maxsize=1)
def _runner(model: ModelSource) -> BlockRunner:
    """Return the model without weights. It is kept between the tasks of a worker, since building it takes seconds."""
    spool = model.spool if model.spool is not None and model.spool.is_dir() else None  # not on another machine
    return BlockRunner(model.checkpoint, np.frombuffer(model.window, np.int64)[None].copy(), spool=spool)


def _run_window(
    runner: BlockRunner, block: int, states: torch.Tensor, tokens: np.ndarray, handed: Handed,
    signs: torch.Tensor | None, products: Bfloat16Products | None,
) -> torch.Tensor:  # fmt: skip
    """Run one window through a loaded block whose hooks are active; return its output, mostly [1, t, hidden].

    With signs of its shape, the sum of the output times these is differentiated. With `products` the block multiplies
    bfloat16 numbers.
    """
    states.requires_grad_(signs is not None)
    # `products` comes last, so that a watch of attention sees the operands that are multiplied.
    with torch.set_grad_enabled(signs is not None), nullcontext() if products is None else products:
        output = runner.run(block, states, tokens, handed)
    if signs is not None and output is not states:  # not where the model passes over the block
        output.backward(signs.to(output.dtype).view(output.shape) / output.detach().norm(), inputs=[states])
    return output.detach()


def _handed_arrays(handed: list[Handed]) -> dict[str, np.ndarray]:
    """Return what was handed on for several windows as one set of arrays."""
    return {f"handed {n} {name}": array for n, own in enumerate(handed) for name, array in own.items()}


def _handed(arrays: Arrays, windows: int) -> list[Handed]:
    """Return what was handed on for each window of a shard, from its arrays."""
    found: list[Handed] = [{} for _ in range(windows)]
    for name, array in arrays.items():
        if name.startswith("handed "):
            _, number, own = name.split(" ", 2)
            found[int(number)][own] = array
    return found


def _as_arrays(recorder: Recorder) -> tuple[ShardInputs, dict[str, np.ndarray]]:
    """Convert a recorder to plain arrays. An input that layers share is stored once, under the first of them."""
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
    terms: dict[str, int] = {}
    for layer, seen in (recorder.values.sums if recorder.values else {}).items():
        terms[layer] = seen.terms
        arrays |= {f"{layer}:value_gram": seen.gram.numpy(), f"{layer}:value_rows": seen.rows}
    return ShardInputs(inputs, tokens, terms), arrays


def _add(total: Recorder, shard: ShardInputs, arrays: Arrays) -> None:
    """Add one shard to the sums."""
    fresh = [layer for layer in shard.inputs if layer not in total.inputs]
    for layer in fresh:
        name = shard.inputs[layer]
        if name in total.inputs and name != layer:
            total.inputs[layer] = total.inputs[name]
        else:
            total.inputs[layer] = InputSums.zeros(
                arrays[f"{name}:largest"].size, torch.device("cpu"), f"{name}:gram" in arrays
            )
    for name, count in shard.tokens.items():
        sums = total.inputs[name]
        sums.tokens += count
        sums.absolute += torch.from_numpy(arrays[f"{name}:absolute"])
        sums.largest = torch.maximum(sums.largest, torch.from_numpy(arrays[f"{name}:largest"]))
        if sums.gram is not None:
            sums.gram += torch.from_numpy(arrays[f"{name}:gram"])
    if total.values is not None:
        for layer, count in shard.value_terms.items():
            part = torch.from_numpy(arrays[f"{layer}:value_gram"])
            empty = ValueSums(np.array(arrays[f"{layer}:value_rows"], bool), torch.zeros_like(part))
            seen = total.values.sums.setdefault(layer, empty)
            seen.gram += part
            seen.terms += count
    for layer in total.layers:
        if f"{layer}:squares" in arrays:
            part = torch.from_numpy(arrays[f"{layer}:squares"])
            total.squares[layer] = total.squares[layer].add_(part) if layer in total.squares else part
