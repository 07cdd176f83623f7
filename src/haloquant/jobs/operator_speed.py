"""Time the kernels that multiply packed layers, for every shape of a model, mix of classes and batch.

The layers of the model run one after the other, as in a pass, so that a layer finds in the caches what it finds in
use. Codes and scales are drawn: no kernel's time depends on their values.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from haloquant.jobs.energy_counters import EnergyCounter, gpu_counters, names_of, processor_counters
from haloquant.jobs.inputs import Progress, silent
from haloquant.kernels.dispatch import linear
from haloquant.kernels.layer_tensors import PackedLayer, packed_layer
from haloquant.lm.devices import describe_device
from haloquant.quant.format.bit_layout import encode
from haloquant.quant.tiles import make_grid
from haloquant.records.operator_costs import MIXES, Mix, OperatorRow, OperatorTable

NINE = tuple(range(-64, 65, 16))
SIXTEEN = tuple(range(-120, 128, 16))
BYTES = tuple(range(-128, 128))
BOOKS = (NINE, SIXTEEN, BYTES)  # by class of a drawn layer
ENOUGH_BYTES = 1 << 28  # packed bytes of layers in turn that no cache holds; a larger model's layers are used again
Shape = tuple[int, int]


@dataclass(frozen=True)
class OperatorSettings:
    """What is measured: batches, repetitions, rows and columns of a tile, and the share of sparse weights."""

    batches: tuple[int, ...] = (1, 8, 64, 512)
    repeats: int = 9
    tile: int = 128
    sparse_share: float = 0.005


def measure_operators(
    model: str, shapes: Sequence[Shape], settings: OperatorSettings, device: str, progress: Progress = silent
) -> OperatorTable:
    """Return the table of a model's layers on this machine.

    Args:
        model: Name of the model, for the table.
        shapes: Outputs and inputs of every layer, in order of execution.
        settings: What is measured.
        device: Where the products run, by torch's name.
        progress: Called with the name of the task, passes done and in all.
    """
    at = torch.device(device)
    counters = processor_counters() if at.type == "cpu" else gpu_counters(at.index or 0)
    rows: list[OperatorRow] = []
    whole, done = len(MIXES) * len(settings.batches), 0
    for mix in MIXES:
        layers = drawn_layers(shapes, mix, settings, at)
        for batch in settings.batches:
            rows += time_layers(layers, mix, batch, settings.repeats, at, counters)
            done += 1
            progress("measure products", done, whole)
    return OperatorTable(
        model, describe_device(device), torch.get_num_threads(), settings.tile, settings.sparse_share,
        settings.repeats, names_of(counters), tuple(rows),
    )  # fmt: skip


def drawn_layers(
    shapes: Sequence[Shape], mix: Mix, settings: OperatorSettings, device: torch.device, enough_b: int = ENOUGH_BYTES
) -> list[PackedLayer]:
    """Return a layer for every shape, in order. After `enough_b` bytes, drawn layers of a shape are used again.

    Args:
        shapes: Outputs and inputs of every layer.
        mix: Words of the tiles; `half` draws the class of every tile.
        settings: Size of the tiles, and share of the sparse weights.
        device: Where the tensors are.
        enough_b: Bytes from which layers are used again.
    """
    rng = np.random.default_rng(0)
    made: dict[Shape, list[PackedLayer]] = {}
    layers: list[PackedLayer] = []
    held = 0
    for number, shape in enumerate(shapes):
        known = made.setdefault(shape, [])
        if held < enough_b or not known:
            known.append(_drawn_layer(shape, mix, settings, rng, device))
            held += known[-1].bytes
            layers.append(known[-1])
        else:
            layers.append(known[number % len(known)])
    return layers


def _drawn_layer(
    shape: Shape, mix: Mix, settings: OperatorSettings, rng: np.random.Generator, device: torch.device
) -> PackedLayer:
    tile = settings.tile
    grid = make_grid(*shape, tile, tile)
    if mix == "half":
        classes = rng.permutation(np.arange(grid.down * grid.across) % 2).astype(np.uint8)
    else:
        classes = np.full(grid.down * grid.across, {"nine": 0, "sixteen": 1, "bytes": 2}[mix], np.uint8)
    classes = classes.reshape(grid.down, grid.across)
    sizes = tuple(map(len, BOOKS))
    limit = np.array(sizes, np.uint16)[classes].repeat(tile, 0).repeat(tile, 1)[: shape[0], : shape[1]]
    codes = (rng.integers(0, 256, shape, dtype=np.uint16) * limit >> 8).astype(np.uint8)
    tensors = {
        "weight_packed": encode(codes, classes, sizes, grid),
        "weight_scale": rng.uniform(1e-4, 1e-3, (shape[0], grid.across)).astype(np.float16),
        "weight_tile_class": classes,
        "weight_shape": np.array(shape, np.int32),
    }
    kept = round(settings.sparse_share * shape[1])
    if kept:
        stride = shape[1] // kept
        columns = np.arange(kept) * stride + rng.integers(0, stride, (shape[0], kept))
        tensors["sparse_row_count"] = np.full(shape[0], kept).astype(np.uint8 if kept < 256 else np.uint16)
        tensors["sparse_col"] = columns.ravel().astype(np.uint16 if shape[1] <= 65536 else np.int32)
        tensors["sparse_value"] = rng.integers(-127, 128, columns.size).astype(np.int8)
        tensors["sparse_scale"] = rng.uniform(1e-4, 1e-3, shape[0]).astype(np.float16)
    placed = {name: torch.from_numpy(array).to(device) for name, array in tensors.items()}
    return packed_layer(placed, BOOKS, tile, tile)


def time_layers(
    layers: Sequence[PackedLayer],
    mix: Mix,
    batch: int,
    repeats: int,
    device: torch.device,
    counters: Sequence[EnergyCounter],
    clock: Callable[[], float] = time.perf_counter,
) -> list[OperatorRow]:
    """Return one row for every shape: seconds of its products in `repeats` passes, after a pass that is not timed.

    The joules of all passes are divided among the products by their time.

    Args:
        layers: The layers in order of execution.
        mix: Words of their tiles.
        batch: Tokens.
        repeats: Passes that are timed.
        device: Where the layers are.
        counters: Counters of energy; none if there are none.
        clock: Returns seconds.
    """
    inputs = {layer.grid.in_features: torch.empty(0) for layer in layers}
    generator = torch.Generator().manual_seed(0)
    for width in inputs:
        inputs[width] = torch.randn(batch, width, generator=generator).to(device)
    taken: dict[Shape, list[float]] = {}
    stored: dict[Shape, int] = {}
    with torch.inference_mode():
        _one_pass(layers, inputs, device, {}, clock)
        before = [counter.read() for counter in counters]
        begin = clock()
        for _ in range(repeats):
            _one_pass(layers, inputs, device, taken, clock)
        whole_s = clock() - begin
        energy_j = sum(counter.since(start) for counter, start in zip(counters, before, strict=True))
    for layer in layers:
        stored[(layer.grid.out_features, layer.grid.in_features)] = layer.bytes
    power_w = energy_j / whole_s if energy_j > 0 else None  # a counter that did not move in this time says nothing
    return [
        OperatorRow(
            *shape, mix, batch, float(np.median(times)), min(times), max(times),
            None if power_w is None else power_w * float(np.mean(times)), stored[shape],
        )
        for shape, times in taken.items()
    ]  # fmt: skip


def _one_pass(
    layers: Sequence[PackedLayer],
    inputs: dict[int, torch.Tensor],
    device: torch.device,
    taken: dict[Shape, list[float]],
    clock: Callable[[], float],
) -> None:
    """Multiply every layer once, and append the seconds of each product to those of its shape."""
    for layer in layers:
        x = inputs[layer.grid.in_features]
        begin = clock()
        linear(x, layer)
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        taken.setdefault((layer.grid.out_features, layer.grid.in_features), []).append(clock() - begin)
