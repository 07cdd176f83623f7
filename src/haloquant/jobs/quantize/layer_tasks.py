"""Tasks on one layer, which any worker can run: the worker reads the layer's tensor and returns codes or losses.

With a transform there is one more kind of task: for all layers that read the same input, the worker returns the scale
of that input.
"""

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace

import numpy as np

from haloquant.dvfs.classes import Classes
from haloquant.jobs.engine.tasks import Arrays
from haloquant.jobs.engine.worker_device import device_turn, own_device
from haloquant.jobs.quantize.layer_rounding import RoundingSettings, class_losses, round_layer
from haloquant.jobs.quantize.transform import input_scale, scale_layer, scale_layer_statistics
from haloquant.lm.checkpoint.reader import LinearLayer, read_layer
from haloquant.lm.checkpoint.safetensors import StoredTensor
from haloquant.lm.export.folding import Fold
from haloquant.quant.format.packing import pack
from haloquant.quant.format.stored_bits import sparse_bits
from haloquant.quant.shrinkage import shrunk
from haloquant.quant.tiles import make_grid
from haloquant.recipe import Transform
from haloquant.records import STATISTICS_ARRAYS, LayerStatistics, TileGrid, TileMap

SCALE, ROWS = "transform.scale", "transform.rows"  # further arrays of a task: input scale and divisors of its rows


@dataclass(frozen=True)
class LayerSettings:
    """Settings that all layers of a model share."""

    classes: Classes
    tile: int
    rounding: RoundingSettings


@dataclass(frozen=True)
class LayerTask:
    """One layer to quantize or to measure.

    The arrays of the task are the parts of the layer's statistics, or none if `source` is empty (no calibration).
    With a transform they also hold the scale of the layer's input (`SCALE`), the divisors of its rows (`ROWS`), or
    both. `codebook` is the class of every tile [down, across]; it is None if the losses of all classes are measured.
    """

    layer: LinearLayer
    tensor: StoredTensor
    settings: LayerSettings
    codebook: np.ndarray | None = None
    tokens: int = 0
    source: str = ""


@dataclass(frozen=True)
class ScaleTask:
    """The layers that read one input, for the search of its scale. The arrays are the statistics of the first layer."""

    transform: Transform
    place: Fold
    layers: tuple[LinearLayer, ...]
    tensors: tuple[StoredTensor, ...]
    tokens: int
    source: str


def find_scale(task: ScaleTask, arrays: Arrays) -> tuple[None, Arrays]:
    """Return the scale of the input as the array `scale`, or no array if no token reached the layers."""
    weights = tuple(read_layer(tensor, layer) for tensor, layer in zip(task.tensors, task.layers, strict=True))
    known = tuple(LayerStatistics(layer.name, task.tokens, source=task.source, **arrays) for layer in task.layers)
    scale = input_scale(task.transform, task.place, weights, known)
    return None, {} if scale is None else {"scale": scale}


def statistics_arrays(statistics: LayerStatistics | None) -> dict[str, np.ndarray]:
    """Return the parts of a layer's statistics that are present, by name."""
    if statistics is None:
        return {}
    return {part: array for part in STATISTICS_ARRAYS if (array := getattr(statistics, part)) is not None}


def statistics_of(layer: str, tokens: int, source: str, arrays: Arrays) -> LayerStatistics | None:
    """Return the statistics whose parts `statistics_arrays` returned, or None without calibration (no `source`)."""
    if not source:
        return None
    return LayerStatistics(
        layer, tokens, source=source, **{part: arrays[part] for part in STATISTICS_ARRAYS if part in arrays}
    )


def quantize_layer(task: LayerTask, arrays: Arrays) -> tuple[None, Arrays]:
    """Return the layer's packed tensors."""
    layer = task.layer
    if task.codebook is None:
        raise ValueError(f"a task that quantizes {layer.name} must have the class of every tile")
    tile_map = TileMap(layer.name, _grid(task), task.codebook)
    weight, known = _weight(task, arrays), _statistics(task, arrays)
    rounding = _rounding(task)
    with _turn(rounding):
        rounded = round_layer(weight, known, tile_map, task.settings.classes, rounding)
    return None, pack(rounded)


def measure_layer(task: LayerTask, arrays: Arrays) -> tuple[None, Arrays]:
    """Return the loss of every tile in each class but base, the sensitivity of every tile, and the largest inputs.

    `loss` is [tiles, classes]. Each class is measured with all tiles of the layer in that class. With statistics it is
    the predicted rise of the model's loss by the Kronecker-factored Hessian, in nats (`quant.kronecker_loss`).
    Without, it is the squared error divided by the layer's mean square, so that the losses of layers are comparable.
    The share of a tile can be negative if the errors of neighbouring tiles cancel. Such a share is set to 0, because
    one tile alone cannot lower the loss.

    `sensitivity` is [tiles down, tiles across], from the best importance that the statistics allow
    (`sensitivity.importance`). `input_absmax` is the largest input of each input feature, before any transform. Both
    are absent without statistics. `sparse_bits` [1] are the stored bits of the sparse part, the same in every class.
    """
    known, grid = _statistics(task, arrays), _grid(task)
    weight = _weight(task, arrays)
    rounding = _rounding(task)
    with _turn(rounding):
        losses, sparse, sensitivity = class_losses(
            weight, known, task.layer.name, grid, task.settings.classes, rounding
        )
    bits = sparse_bits(sparse, grid.out_features, grid.in_features)
    measured = {"loss": np.maximum(losses, 0.0), "sparse_bits": np.array([bits], np.int64)}
    if sensitivity is not None:
        measured["sensitivity"] = sensitivity
        if "input_absmax" in arrays:
            measured["input_absmax"] = arrays["input_absmax"]
    return None, measured


def _grid(task: LayerTask) -> TileGrid:
    return make_grid(task.layer.out_features, task.layer.in_features, task.settings.tile, task.settings.tile)


def _weight(task: LayerTask, arrays: Arrays) -> np.ndarray:
    return scale_layer(read_layer(task.tensor, task.layer), arrays.get(SCALE), arrays.get(ROWS))


def _statistics(task: LayerTask, arrays: Arrays) -> LayerStatistics | None:
    known = statistics_of(task.layer.name, task.tokens, task.source, arrays)
    if known is None:
        return None
    return shrunk(scale_layer_statistics(known, arrays.get(SCALE), arrays.get(ROWS)))


def _turn(rounding: RoundingSettings) -> AbstractContextManager[None]:
    """Return a turn on the GPU that a layer is rounded on; nothing waits where the CPU rounds."""
    return nullcontext() if rounding.place.device == "cpu" else device_turn()


def _rounding(task: LayerTask) -> RoundingSettings:
    """Return how the layer is rounded, on the device of this process."""
    asked = task.settings.rounding
    return replace(asked, place=replace(asked.place, device=own_device(asked.place.device)))
