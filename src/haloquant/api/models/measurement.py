"""Measure a model on this machine, and look at what other machines reached."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import get_args

from haloquant.api.arguments import check_choice, check_count, check_range, path_text
from haloquant.api.machines.simulation import simulate
from haloquant.api.progress import Progress, reporting
from haloquant.errors import InputError
from haloquant.jobs.evaluation import Dtype, WholeActivations
from haloquant.jobs.generation_speed import PROMPT_TOKENS, GenerationSpeed, measure_generation
from haloquant.jobs.inputs import has_tensors, model_folder, read_model_sizes
from haloquant.jobs.operator_speed import OperatorSettings, measure_operators
from haloquant.jobs.quantize.forecast.model_sizes import ModelSizes, sizes_of_checkpoint
from haloquant.lm.checkpoint.reader import open_checkpoint
from haloquant.lm.checkpoint.remote import is_url
from haloquant.lm.devices import find_device
from haloquant.lm.packed.token_head import check_head_bits
from haloquant.recipe import MOST_TILE
from haloquant.records.operator_costs import OperatorTable
from haloquant.store.platforms import write_operator_table
from haloquant.store.targets import read_systolic

WATT_HOUR_J = 3600.0
MOST_BATCH = 1 << 16  # tokens of one product
MOST_REPEATS = 10_000


def measure(
    model: str | Path = "demo",
    *,
    tokens: int = 50,
    repeats: int = 10,
    pause_s: float = 5.0,
    watts: float | None = None,
    battery_wh: float | None = None,
    target: str | Path | None = None,
    dtype: Dtype = "float32",
    activations: WholeActivations = "float",
    head_bits: int = 16,
    device: str = "auto",
    progress: Progress = True,
) -> GenerationSpeed:
    """Generate text with a model on this machine, and measure tokens per second and per joule.

    One pass that is not counted comes first. Energy is read from the processor's counters (RAPL, which Linux may let
    only root read) or from those of the GPU that computes (NVML). Where there are none, it is not known.

    Args:
        model: Model folder, plain or packed, or "demo".
        tokens: Tokens that are timed in each repetition, after the pass over a prompt of 16 tokens.
        repeats: Number of repetitions.
        pause_s: Seconds of rest before each repetition.
        watts: Mean power of the machine while it generates, in place of counters.
        battery_wh: Energy of a battery in watt-hours, for the number of words that it generates.
        target: A machine (a systolic array of `haloquant targets`, or a file) on which one decode step of this packed
            model is simulated, for comparison.
        dtype: Floating-point type in which the model computes.
        activations: "int8" rounds the inputs of a packed model's layers and multiplies integers, as in `load`.
        head_bits: 8 rounds the weights of the head, as in `load`.
        device: As in `evaluate`.
        progress: True shows it, False does not, and a callable is called with (task, steps done, steps in total).

    Returns:
        The median and the range of the rates, the bytes that a token reads and the rate that memory allows, the energy
        if it is known, and the simulated rate.

    Raises:
        InputError: An argument is not allowed, or the model or the machine is missing.

    Example:
        ```python
        from haloquant.api import measure

        found = measure("demo", repeats=3, pause_s=0, watts=15)
        print(found.tok_s, found.memory_bound_tok_s, found.tok_per_j)
        ```
    """
    shown, path = reporting(progress), path_text("model", model)
    check_count("tokens", tokens, 1)
    check_count("repeats", repeats, 1, MOST_REPEATS)
    check_range("pause_s", pause_s, 0.0, 3600.0)
    for name, value in (("watts", watts), ("battery_wh", battery_wh)):
        if value is not None:
            check_range(name, value, 1e-6, 1e9)
    check_choice("dtype", dtype, get_args(Dtype))
    check_choice("activations", activations, get_args(WholeActivations))
    check_head_bits(head_bits)
    machine = None if target is None else read_systolic(path_text("target", target))
    where = find_device(device)
    battery_j = None if battery_wh is None else battery_wh * WATT_HOUR_J
    with shown as report:
        found = measure_generation(
            path, tokens, repeats, pause_s, watts, battery_j, dtype, where, report, activations, head_bits
        )
    if machine is None or target is None:
        return found
    context = PROMPT_TOKENS + tokens
    compared = simulate(path, target, prefill_tokens=1, context_tokens=context, progress=False)
    step = compared.simulation("decode")
    return replace(found, predicted_tok_s={machine.name: step.tokens / step.time_s})


def measure_ops(
    model: str | Path = "demo",
    out: str | Path | None = None,
    *,
    batches: Sequence[int] = (1, 8, 64, 512),
    repeats: int = 9,
    tile: int = 128,
    sparse_share: float = 0.005,
    device: str = "auto",
    progress: Progress = True,
) -> OperatorTable:
    """Time the kernels of packed layers on this machine: every shape of a model, in tiles of 9, 16, both or 256 words.

    The layers run one after the other as in a pass of the model, with codes that are drawn. The table decides which
    tiles become fast with `quantize.cost = "measured:FILE"` of a recipe, or `quantize(cost="measured:FILE")`.

    Args:
        model: Model folder, GGUF file, config.json, or a named shape such as "llama2-7b"; only its shapes are used.
        out: JSON file for the table; None writes none.
        batches: Numbers of tokens that are multiplied at a time.
        repeats: Passes over the layers that are timed, after one that is not.
        tile: Rows and columns of a tile.
        sparse_share: Share of the weights in the sparse part.
        device: As in `evaluate`.
        progress: True shows it, False does not, and a callable is called with (task, steps done, steps in total).

    Returns:
        For each shape, mix of words and batch the median and the range of the time, the energy if a counter can be
        read, and the bytes that are read.

    Raises:
        InputError: An argument is not allowed, or there is no such model.

    Example:
        ```python
        from haloquant.api import measure_ops

        table = measure_ops("demo", "ops.json", batches=(1, 8), repeats=3)
        print(table.rows[0].mix, table.rows[0].median_s)
        ```
    """
    shown, name = reporting(progress), path_text("model", model)
    if not isinstance(batches, Sequence) or isinstance(batches, str) or not batches:
        raise InputError(f"batches must be a sequence of numbers of tokens, such as (1, 8), not {batches!r:.80}")
    for batch in batches:
        check_count("a batch", batch, 1, MOST_BATCH)
    check_count("repeats", repeats, 1, MOST_REPEATS)
    check_count("tile", tile, 8, MOST_TILE)
    check_range("sparse_share", sparse_share, 0.0, 0.5)
    where = find_device(device)
    sizes = _sizes(name)
    shapes = [(layer.out_features, layer.in_features) for layer in sizes.layers]
    if not shapes:
        raise InputError(f"the model must have linear layers to measure, and {name} has none")
    settings = OperatorSettings(tuple(dict.fromkeys(batches)), repeats, tile, float(sparse_share))
    with shown as report:
        table = measure_operators(name, shapes, settings, where, report)
    if out is not None:
        write_operator_table(Path(path_text("out", out)), table)
    return table


def _sizes(name: str) -> ModelSizes:
    """Return the sizes of the layers of a model with or without tensors."""
    if is_url(name) or has_tensors(name):
        return sizes_of_checkpoint(open_checkpoint(name if is_url(name) else model_folder(name)))
    return read_model_sizes(name)[0]
