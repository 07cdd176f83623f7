"""A rival on one layer, as a task that any worker can run, and the files of its result."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from haloquant.jobs.compare.rivals import array_tiles
from haloquant.jobs.engine.tasks import Arrays
from haloquant.jobs.quantize.layer_tasks import statistics_of
from haloquant.jobs.step_files import MAX_JSON
from haloquant.lm.checkpoint.reader import LinearLayer, read_layer
from haloquant.lm.checkpoint.safetensors import StoredTensor
from haloquant.quant.float16 import size_exponent
from haloquant.quant.rivals.registry import rival
from haloquant.quant.tiles import make_grid
from haloquant.records import BitCount, LayerResult, LayerTiles, MacProfile
from haloquant.store.arrays import load_arrays, save_arrays
from haloquant.store.atomic_files import read_bounded, write_bytes

# Further arrays of a task.
ROW_HESSIAN, TOKEN_FISHER, INPUT_SCALE = "rival.row_hessian", "rival.token_fisher", "rival.input_scale"
_PARTS = ("classes", "values", "histogram")


@dataclass(frozen=True)
class RivalTask:
    """One layer to quantize by a rival.

    The arrays of the task are the parts of the layer's statistics. If the rival uses them, they also hold the Hessians
    of output rows (`ROW_HESSIAN`, [heads, rows, rows]), the Fisher information of single tokens (`TOKEN_FISHER`,
    [out, in]), whose origin `token_source` names, and the scale of the input (`INPUT_SCALE`, [in]).
    """

    layer: LinearLayer
    tensor: StoredTensor
    rival: str
    tile: int
    profile: MacProfile
    corner: int
    tokens: int
    source: str
    token_source: str = ""


class RivalLayer(msgspec.Struct, frozen=True):
    """A rival's layer as JSON, without arrays. `too_wide` says that it has integers that the MAC does not hold."""

    bits: BitCount
    notes: tuple[str, ...]
    sparse_nnz: int
    runs_on_array: bool
    too_wide: bool
    branch_rank: int = 0


def quantize_rival_layer(task: RivalTask, arrays: Arrays) -> tuple[RivalLayer, Arrays]:
    """Return a rival's layer: its numbers, the weight [out, in], and the contents of its tiles if it has integers."""
    layer, method = task.layer, rival(task.rival)
    known = statistics_of(layer.name, task.tokens, task.source, arrays)
    if known is not None and TOKEN_FISHER in arrays:
        known = replace(known, fisher=arrays[TOKEN_FISHER], source=task.token_source)
    more = {"row_hessian": arrays.get(ROW_HESSIAN)} if method.by_head else {}
    if method.smoothing is not None:
        more["input_scale"] = arrays[INPUT_SCALE]
    weight = read_layer(task.tensor, layer)
    factor = np.float32(2.0 ** size_exponent(weight))  # as in `layer_rounding`; 1 for weights of ordinary size
    result = method.quantize(weight * factor, known, layer=layer.name, **more)
    result = replace(result, weight=result.weight / factor)
    return rival_layer(result, layer, task.tile, task.profile, task.corner)


def rival_layer(
    result: LayerResult, layer: LinearLayer, tile: int, profile: MacProfile, corner: int
) -> tuple[RivalLayer, Arrays]:
    """Return what is stored of a rival's layer: its numbers, its weight, and its tiles if this MAC multiplies them."""
    grid = make_grid(layer.out_features, layer.in_features, tile, tile)
    tiles = array_tiles(result, grid, profile, corner)
    made: dict[str, np.ndarray] = {"weight": result.weight}
    if tiles is not None:
        made |= {part: getattr(tiles, part) for part in _PARTS}
    nnz = 0 if tiles is None else tiles.sparse_nnz
    too_wide = result.mac_values is not None and tiles is None
    return RivalLayer(result.bits, tuple(result.notes), nnz, tiles is not None, too_wide, result.branch_rank), made


def save_rival_layer(folder: Path, _: LinearLayer, made: Any, arrays: Arrays) -> None:
    """Write what `quantize_rival_layer` returned to `folder`."""
    write_bytes(folder / "layer.json", msgspec.json.format(msgspec.json.encode(made), indent=1))
    save_arrays(folder / "weight.safetensors", {"weight": arrays["weight"]})
    if made.runs_on_array:
        save_arrays(folder / "tiles.safetensors", {part: arrays[part] for part in _PARTS})


def load_rival_layer(folder: Path, layer: LinearLayer, tile: int) -> tuple[RivalLayer, LayerTiles | None]:
    """Return a rival's layer, without its weight, from the files of `save_rival_layer`."""
    made = msgspec.json.decode(read_bounded(folder / "layer.json", MAX_JSON), type=RivalLayer)
    if not made.runs_on_array:
        return made, None
    grid = make_grid(layer.out_features, layer.in_features, tile, tile)
    parts = load_arrays(folder / "tiles.safetensors")
    classes, values, histogram = (parts[part] for part in _PARTS)
    tiles = LayerTiles(layer.name, grid, classes, values, histogram, made.sparse_nnz, made.bits, made.branch_rank)
    return made, tiles


def load_rival_weight(folder: Path) -> np.ndarray:
    """Return the weight [out, in] of a rival's layer."""
    return load_arrays(folder / "weight.safetensors")["weight"]
