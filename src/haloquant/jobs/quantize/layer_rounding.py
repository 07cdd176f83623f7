"""Quantize a layer to HALO's form, given the class of each tile: sparse weights, scales, rounding, refinement.

This is the one description of the steps. Two engines carry them out (`quant.rounding.layer_rounder`).
"""

from dataclasses import dataclass

import numpy as np

from haloquant.dvfs.classes import Classes
from haloquant.quant.accumulator import check_accumulation
from haloquant.quant.float16 import size_exponent
from haloquant.quant.kronecker_loss import rounding_losses
from haloquant.quant.layer import resized
from haloquant.quant.paper_method import quantize_weight_to_range, salient_then_outliers
from haloquant.quant.rounding.layer_rounder import LayerRounder, NumbaLayer, RoundingEngine
from haloquant.quant.rounding.refinement import default_share
from haloquant.quant.sensitivity import layer_scores
from haloquant.quant.tiles import uniform_map
from haloquant.recipe import Method, Refine
from haloquant.records import Codebook, LayerStatistics, QuantizedWeight, SparseWeights, TileGrid, TileMap


@dataclass(frozen=True)
class RoundingPlace:
    """The device that rounds, as torch names it, and the engine: `auto` is numba on "cpu", and torch elsewhere."""

    device: str = "cpu"
    engine: RoundingEngine = "auto"


ON_CPU = RoundingPlace()


def rounding_place(method: Method, device: str) -> RoundingPlace:
    """Return where a method rounds if a device was asked for: `paper` has one engine, on the CPU."""
    return ON_CPU if method == "paper" else RoundingPlace(device)


@dataclass(frozen=True)
class RoundingSettings:
    """How every layer of a model is rounded, beside its classes.

    Attributes:
        sparse_budget: share of the weights that are kept in 8 bits as a sparse matrix.
        compensate: whether rounding errors are compensated.
        refined_share: share of the tiles that are refined; `auto` is `refinement.default_share`.
        method: `paper` rounds as the paper describes (`quant.paper_method`), on the CPU; no other setting is used then.
        pruned_share: share of each output's weights that get the word 0 (`quant.rounding.pruning`).
        place: where and with which engine layers are rounded.
    """

    sparse_budget: float
    compensate: bool
    refined_share: Refine = "auto"
    method: Method = "haloquant"
    pruned_share: float = 0.0
    place: RoundingPlace = ON_CPU


def round_layer(
    weight: np.ndarray,
    statistics: LayerStatistics | None,
    tile_map: TileMap,
    classes: Classes,
    settings: RoundingSettings,
) -> QuantizedWeight:
    """Return one layer in HALO form.

    The sparse weights are taken out first; then the scales are searched and the rest is rounded to the words of each
    tile's class. If a Hessian is known and `compensate` is set, rounding errors are compensated, and a share of the
    tiles is refined afterwards; otherwise each weight is rounded to the nearest word. Very small weights are rounded at
    a power of two times their size (`quant.float16.size_exponent`).

    Args:
        weight: The weight matrix [out, in].
        statistics: What calibration measured of the layer; None without calibration.
        tile_map: The class of each tile.
        classes: Codebooks, fastest class first; the last, for all weight values, is not used.
        settings: How the layer is rounded.

    Raises:
        InfeasibleError: The layer's sums could overflow 32 bits, or the device has too little memory for it.
        ToolError: The device failed.
    """
    books = classes.codebooks[:-1]
    check_accumulation(tile_map.layer, weight.shape[1], books)
    if settings.method == "paper":
        return _paper(weight, statistics, tile_map, books)
    layer = open_layer(weight, statistics, tile_map.layer, settings.place)
    layer.split(settings.sparse_budget, settings.pruned_share)
    _round(layer, statistics, tile_map, books, settings)
    return layer.quantized()


def class_losses(
    weight: np.ndarray,
    statistics: LayerStatistics | None,
    layer: str,
    grid: TileGrid,
    classes: Classes,
    settings: RoundingSettings,
) -> tuple[np.ndarray, SparseWeights, np.ndarray | None]:
    """Return the loss [tiles, classes] of every tile in each class but the last, with all tiles in that class.

    The sparse part is returned too; its places are the same in every class. The third is the sensitivity of every tile
    [tiles down, tiles across] (`quant.sensitivity.layer_scores`), None without statistics.

    Sparse weights and the factors of Hessians are found once for all classes. The other arguments and errors are those
    of `round_layer`.

    Args:
        weight: The weight matrix [out, in].
        statistics: As in `round_layer`. With them a loss is in nats (`quant.kronecker_loss`); without, it is a squared
            error relative to the layer's mean square.
        layer: Name of the layer.
        grid: Tiles of the layer.
        classes: As in `round_layer`.
        settings: As in `round_layer`.
    """
    books = classes.codebooks[:-1]
    check_accumulation(layer, weight.shape[1], books)
    maps = [uniform_map(layer, grid, index) for index in range(len(books))]
    if settings.method == "paper":
        made = [_paper(weight, statistics, tiles, books) for tiles in maps]
        losses = [rounding_losses(weight, rounded, statistics).reshape(-1) for rounded in made]
        scores = None if statistics is None else layer_scores(statistics, grid)
        return np.stack(losses, axis=1), made[-1].sparse, scores
    opened, columns = open_layer(weight, statistics, layer, settings.place), []
    opened.split(settings.sparse_budget, settings.pruned_share)
    for tiles in maps:
        _round(opened, statistics, tiles, books, settings)
        columns.append(opened.tile_losses().reshape(-1))
    scores = None if statistics is None else opened.tile_sensitivity(grid)
    return np.stack(columns, axis=1), opened.quantized().sparse, scores


def open_layer(
    weight: np.ndarray, statistics: LayerStatistics | None, layer: str, place: RoundingPlace = ON_CPU
) -> LayerRounder:
    """Return a layer that is ready to be rounded by the engine of this place.

    Args:
        weight: The weight matrix [out, in].
        statistics: What calibration measured of the layer; None without calibration.
        layer: Name of the layer.
        place: The device, and the engine.

    Raises:
        InfeasibleError: The device has too little memory for the layer.
    """
    if place.engine == "numba" or (place.engine == "auto" and place.device == "cpu"):
        return NumbaLayer(weight, statistics, layer)
    from haloquant.kernels.rounding.torch_layer import TorchLayer  # needs torch

    return TorchLayer(weight, statistics, layer, place.device)


def _round(
    layer: LayerRounder,
    statistics: LayerStatistics | None,
    tiles: TileMap,
    books: tuple[Codebook, ...],
    settings: RoundingSettings,
) -> None:
    """Round an opened layer, whose sparse weights are chosen, in these classes."""
    if statistics is None or statistics.hessian is None or not settings.compensate:
        layer.round_nearest(tiles, books)
        return
    layer.compensate(tiles, books)
    share = settings.refined_share
    layer.refine(default_share(tiles, books) if share == "auto" else share)


def _paper(
    weight: np.ndarray, statistics: LayerStatistics | None, tiles: TileMap, books: tuple[Codebook, ...]
) -> QuantizedWeight:
    """Round a layer as the paper describes."""
    exponent = size_exponent(weight)
    if exponent:
        weight = weight * np.float32(2.0**exponent)
    apart = salient_then_outliers(weight, statistics, layer=tiles.layer)
    return resized(quantize_weight_to_range(weight, tiles=tiles, codebooks=books, sparse=apart), exponent)
