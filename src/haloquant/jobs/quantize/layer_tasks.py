"""One layer as a task that may run anywhere: a worker reads its own tensor, and gives back packed codes or losses.

Before a transform, the layers that read one input are a task too: a worker gives back the scale of that input.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from haloquant.dvfs.classes import Classes
from haloquant.jobs.quantize import halo
from haloquant.jobs.quantize.transform import scale_known, scale_layer, scale_of
from haloquant.lm.checkpoint.reader import LinearLayer, read_layer
from haloquant.lm.checkpoint.safetensors import StoredTensor
from haloquant.lm.export.folding import Fold
from haloquant.quant.format.packing import pack
from haloquant.quant.layer import dequantize
from haloquant.quant.tile_loss import kronecker_losses
from haloquant.quant.tiles import make_grid, tile_sums, uniform_map
from haloquant.recipe import Transform
from haloquant.records import LayerStatistics, QuantizedWeight, TileGrid, TileMap

Arrays = Mapping[str, np.ndarray]
PARTS = ("fisher", "hessian", "input_absmean", "input_absmax")
SCALE, ROWS = "transform.scale", "transform.rows"  # of a layer behind a transform, beside the parts of its statistics


@dataclass(frozen=True)
class Settings:
    """What all layers of a model share."""

    classes: Classes
    tile: int
    sparse_budget: float
    compensate: bool


@dataclass(frozen=True)
class LayerTask:
    """One layer. Its arrays are the parts of its statistics, none where `source` is empty: data-free.

    Behind a transform they hold the scale of its input, or what its rows are divided by, or both.
    """

    layer: LinearLayer
    tensor: StoredTensor
    settings: Settings
    codebook: np.ndarray | None = None  # class of every tile [down, across]; none where all classes are measured
    tokens: int = 0
    source: str = ""


@dataclass(frozen=True)
class ScaleTask:
    """The layers that read one input. Its arrays are the parts of the statistics of the first: of that input."""

    transform: Transform
    place: Fold
    layers: tuple[LinearLayer, ...]
    tensors: tuple[StoredTensor, ...]
    tokens: int
    source: str


def find_scale(task: ScaleTask, arrays: Arrays) -> tuple[None, Arrays]:
    """The scale of the input, as `scale`; no array where no token reached the layers."""
    weights = tuple(read_layer(tensor, layer) for tensor, layer in zip(task.tensors, task.layers, strict=True))
    known = tuple(LayerStatistics(layer.name, task.tokens, source=task.source, **arrays) for layer in task.layers)
    scale = scale_of(task.transform, task.place, weights, known)
    return None, {} if scale is None else {"scale": scale}


def known_arrays(known: LayerStatistics | None) -> dict[str, np.ndarray]:
    """The parts of a layer's statistics that there are, by name."""
    if known is None:
        return {}
    return {part: array for part in PARTS if (array := getattr(known, part)) is not None}


def make_layer(task: LayerTask, arrays: Arrays) -> tuple[None, Arrays]:
    """The layer's packed tensors."""
    layer = task.layer
    if task.codebook is None:
        raise ValueError(f"a task that makes {layer.name} must have the class of every tile")
    tile_map = TileMap(layer.name, _grid(task), task.codebook)
    return None, pack(_round(task, _weight(task, arrays), tile_map, _known(task, arrays)))


def measure_layer(task: LayerTask, arrays: Arrays) -> tuple[None, Arrays]:
    """Loss of every tile of the layer in each class but base, [tiles, classes], as `loss`."""
    known, grid = _known(task, arrays), _grid(task)
    weight = _weight(task, arrays)
    columns: list[np.ndarray] = []
    for index in range(len(task.settings.classes.codebooks) - 1):
        made = _round(task, weight, uniform_map(task.layer.name, grid, index), known)
        error = weight - dequantize(made)
        if known is None:
            # Data-free: squared error relative to the layer's own energy, so that layers compare.
            part = tile_sums(error**2, grid) / float(np.mean(weight.astype(np.float64) ** 2) or 1.0)
        else:
            part = kronecker_losses(weight, weight - error, known, grid)
        columns.append(part.reshape(-1))
    return None, {"loss": np.maximum(np.stack(columns, axis=1), 0.0)}


def _grid(task: LayerTask) -> TileGrid:
    return make_grid(task.layer.out_features, task.layer.in_features, task.settings.tile, task.settings.tile)


def _weight(task: LayerTask, arrays: Arrays) -> np.ndarray:
    return scale_layer(read_layer(task.tensor, task.layer), arrays.get(SCALE), arrays.get(ROWS))


def _known(task: LayerTask, arrays: Arrays) -> LayerStatistics | None:
    if not task.source:
        return None
    parts = {part: arrays[part] for part in PARTS if part in arrays}
    known = LayerStatistics(task.layer.name, task.tokens, source=task.source, **parts)
    return scale_known(known, arrays.get(SCALE), arrays.get(ROWS))


def _round(task: LayerTask, weight: np.ndarray, tile_map: TileMap, known: LayerStatistics | None) -> QuantizedWeight:
    asked = task.settings
    return halo.one_layer(weight, known, tile_map, asked.classes, asked.sparse_budget, asked.compensate)
