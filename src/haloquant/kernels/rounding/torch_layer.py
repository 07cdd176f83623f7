"""A layer that is rounded in torch: `quant.rounding.layer_rounder.LayerRounder` on a CPU or a GPU.

The weight, the Hessian and its factor stay on the device for all steps and classes. Where the layer does not fit, its
rows are rounded in bands, which wait in the memory of the CPU.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Float32, Float64

from haloquant.kernels.device_copies import to_device, to_host
from haloquant.kernels.device_errors import explained
from haloquant.kernels.float32_products import float32_products
from haloquant.kernels.rounding.compensation import compensate
from haloquant.kernels.rounding.memory import device_memory_b, rows_that_fit
from haloquant.kernels.rounding.refinement import refine
from haloquant.kernels.rounding.row_band import RowBand
from haloquant.kernels.rounding.scale_search import search
from haloquant.kernels.rounding.shared_hessian import SharedHessian
from haloquant.kernels.rounding.sparse_search import largest_places, moments, outliers, usable_row_sums
from haloquant.kernels.rounding.word_tensors import WordTensors, tiled, word_tensors
from haloquant.quant.float16 import LARGEST, size_exponent
from haloquant.quant.hessian import RowPart, hessian_importance, row_parts
from haloquant.quant.input_checks import check_tiles, check_weight
from haloquant.quant.kronecker_loss import row_factor
from haloquant.quant.layer import resized
from haloquant.quant.rounding.layer_rounder import DAMPING
from haloquant.quant.rounding.pruning import pruned_weights
from haloquant.quant.rounding.refinement import costliest_tile_columns
from haloquant.quant.sensitivity import importance, layer_scores
from haloquant.quant.sparse import SALIENT, SIGMA, check_split, choose_places, mask_of, no_sparse_weights, round_places
from haloquant.quant.tiles import classes_by_row, tile_counts
from haloquant.records import Codebook, LayerStatistics, QuantizedWeight, SparseWeights, TileGrid, TileMap


class TorchLayer:
    """A `LayerRounder` that computes in torch.

    Its results differ from those of `NumbaLayer` in the rounding of float32 sums. The same device gives the same bytes
    twice: no sum depends on the order in which threads end.
    """

    def __init__(
        self,
        weight: Float32[np.ndarray, "out in"],
        statistics: LayerStatistics | None,
        layer: str,
        device: str = "cpu",
        memory_b: float | None = None,
    ) -> None:
        """Copy the weight to the device.

        Args:
            weight: [out, in], finite.
            statistics: what calibration measured of the layer; None without calibration.
            layer: name of the layer in errors.
            device: torch's name of the device.
            memory_b: memory of the device in bytes; None asks a GPU, and takes the rows of a layer together on a CPU.

        Raises:
            CheckpointError: The weight is not finite.
            InfeasibleError: The device has too little memory for a row.
        """
        self._statistics, self._at = statistics, torch.device(device)
        if weight.ndim != 2 or weight.size == 0:
            check_weight(weight, layer)
        self._layer, self._device = layer, device
        self._exponent = size_exponent(weight)
        self._weight = np.ascontiguousarray(weight * np.float32(2.0**self._exponent) if self._exponent else weight)
        calibrated = statistics is not None and statistics.hessian is not None
        rows = weight.shape[0]
        parts = (
            row_parts(statistics, rows)
            if statistics is not None and calibrated
            else (RowPart(slice(None), statistics or LayerStatistics(layer, 0)),)
        )
        room = device_memory_b(device) if memory_b is None else memory_b
        self._most = rows if room is None else rows_that_fit(rows, weight.shape[1], room, layer, calibrated)
        self._parts = [SharedHessian(part.statistics, layer, self._at) for part in parts]
        with self._errors("copying"):
            home = self._at if self._most == rows else torch.device("cpu")
            self._bands = [
                RowBand(number, chosen, self._weight, home)
                for number, part in enumerate(parts)
                for chosen in _cut(np.arange(rows)[part.rows], self._most)
            ]
            if not all(_is_sound(band.weight) for band in self._bands):
                check_weight(weight, layer)  # says what is wrong
        self._sparse = no_sparse_weights(rows)
        self._fisher_sums: np.ndarray | None = None
        self._tiles: TileMap | None = None

    def split(self, budget: float, pruned_share: float = 0.0) -> None:
        """See `LayerRounder.split`."""
        check_split(budget, SIGMA, SALIENT)
        with self._errors("splitting"):
            mean, square = self._moments
            reach = SIGMA * float(np.sqrt(max(square - mean**2, 0.0)))
            places, most = outliers(self._slices(self._weight), mean, reach), int(budget * self._weight.size)
            salient, pruned = np.empty(0, np.int64), None
            if self._statistics is not None and self._statistics.fisher is not None:
                count = min(most, int(SALIENT * self._weight.size))
                salient = largest_places(self._fisher(self._statistics.fisher), count)
            self._sparse = round_places(self._weight, *choose_places(self._weight, salient, places, mean, most))
            if pruned_share:
                mask = mask_of(self._sparse, self._weight.shape[1])
                pruned = pruned_weights(self._weight, mask, self._statistics, pruned_share)
            for band in self._bands:
                band.set_sparse(self._sparse, pruned)

    def round_nearest(self, tiles: TileMap, codebooks: tuple[Codebook, ...]) -> None:
        """See `LayerRounder.round_nearest`."""
        self._begin(tiles, codebooks)
        with self._errors("rounding"):
            fisher = self._usable_fisher
            weighting = importance(self._statistics, self._weight.shape[1]) if fisher is None else fisher
            for band in self._bands:
                self._search(band, weighting)
                band.values_of(self._sparse)

    def compensate(self, tiles: TileMap, codebooks: tuple[Codebook, ...]) -> None:
        """See `LayerRounder.compensate`."""
        if self._statistics is None:
            raise ValueError("compensation must have statistics")
        self._begin(tiles, codebooks)
        weighting, tile_in = hessian_importance(self._statistics), tiles.grid.tile_in
        with self._errors("rounding"):
            for band in self._bands:
                self._search(band, weighting)
                factor = self._hessian(band).factor
                weight, _, scale, classes, sparse = band.on(self._at)
                codes, errors = compensate(weight, factor, scale, classes, self._words, tile_in, sparse)
                band.keep(codes, scale, weight, errors)

    def refine(self, share: float) -> None:
        """See `LayerRounder.refine`."""
        if not share:
            return
        tiles, inputs = self._rounded, self._weight.shape[1]
        with self._errors("refining"):
            for number, _ in enumerate(self._parts):
                bands = [band for band in self._bands if band.part == number]
                squares = np.zeros(inputs)
                for band in bands:
                    error = band.weight.to(self._at) - band.values(self._words, tiles.grid.tile_in, self._at)
                    squares += error.square_().sum(0, dtype=torch.float64).cpu().numpy()
                shared = self._hessian(bands[0])
                visited = costliest_tile_columns(squares * shared.diagonal, tiles.grid, share)
                extra = float(np.float32(DAMPING * shared.trace / inputs or 1.0))
                for band in bands:
                    values = band.values(self._words, tiles.grid.tile_in, self._at)
                    weight, codes, scale, classes, sparse = band.on(self._at)
                    refine(
                        weight, values, codes, scale, classes, self._words, sparse, shared.matrix, extra, visited,
                        tiles.grid.tile_in,
                    )  # fmt: skip
                    band.keep(codes, scale, weight, weight - values)

    def quantized(self) -> QuantizedWeight:
        """See `LayerRounder.quantized`."""
        tiles, sparse = self._rounded, self._sparse
        codes, integers = np.empty(self._weight.shape, np.uint8), sparse.values.copy()
        scale = np.empty((tiles.grid.out_features, tiles.grid.across), np.float32)
        for band in self._bands:
            if band.rows.size == len(codes):
                to_host(band.codes, into=codes)
            else:
                codes[band.rows] = to_host(band.codes)
            scale[band.rows], integers[band.entries] = band.scale.cpu().numpy(), band.integers.cpu().numpy()
        found = SparseWeights(sparse.rows, sparse.cols, integers, sparse.scale, sparse.kind)
        return resized(QuantizedWeight(self._layer, codes, scale, tiles, self._codebooks, found), self._exponent)

    def tile_losses(self) -> Float64[np.ndarray, "down across"]:
        """See `LayerRounder.tile_losses`."""
        grid = self._rounded.grid
        sums = np.empty((grid.out_features, grid.across))
        with self._errors("measuring"):
            for band in self._bands:
                error = band.weight.to(self._at) - band.values(self._words, grid.tile_in, self._at)
                other = error if self._statistics is None else self._hessian(band).times(error)
                sums[band.rows] = tiled(error * other, grid.tile_in).sum(2, dtype=torch.float64).cpu().numpy()
        if self._statistics is None:
            sums /= self._moments[1] or 1.0
        else:
            sums *= 0.5 * self._row_factor[:, None] * 4.0**-self._exponent
        return np.add.reduceat(sums, np.arange(0, grid.out_features, grid.tile_out), axis=0)

    def tile_sensitivity(self, grid: TileGrid) -> Float64[np.ndarray, "down across"]:
        """See `LayerRounder.tile_sensitivity`."""
        with self._errors("measuring"):
            fisher = self._usable_fisher
            if fisher is None:
                return layer_scores(self._statistics, grid)
            parts = (tiled(part.clamp(min=0), grid.tile_in) for part in self._slices(fisher))
            sums = np.concatenate([part.sum(2, dtype=torch.float64).cpu().numpy() for part in parts])
        return np.add.reduceat(sums, np.arange(0, grid.out_features, grid.tile_out), axis=0) / tile_counts(grid)

    @cached_property
    def _moments(self) -> tuple[float, float]:
        return moments(self._slices(self._weight), self._weight.size)

    @cached_property
    def _row_factor(self) -> np.ndarray:
        if self._statistics is None:
            raise ValueError("the factor of a row must have statistics")
        return row_factor(self._statistics, self._fisher_sums if self._usable_fisher is not None else None)

    @property
    def _usable_fisher(self) -> np.ndarray | None:
        """The Fisher information, if it is finite and not 0 everywhere; `sensitivity` treats the other cases."""
        fisher = None if self._statistics is None else self._statistics.fisher
        if fisher is not None and self._fisher_sums is None:
            for _ in self._fisher(fisher):
                pass
        sums = self._fisher_sums
        return fisher if sums is not None and np.isfinite(sums).all() and sums.any() else None

    @property
    def _rounded(self) -> TileMap:
        if self._tiles is None:
            raise ValueError("a layer must be rounded before its result is read")
        return self._tiles

    def _begin(self, tiles: TileMap, codebooks: tuple[Codebook, ...]) -> None:
        """Take the classes of the tiles."""
        check_tiles(tiles, codebooks, (self._weight.shape[0], self._weight.shape[1]))
        self._tiles, self._codebooks = tiles, codebooks
        self._words: WordTensors = word_tensors(codebooks, self._at)
        classes = classes_by_row(tiles)
        for band in self._bands:
            band.set_classes(classes)

    def _search(self, band: RowBand, weighting: np.ndarray) -> None:
        """Search the scales of a band, and round to the nearest words."""
        weight, _, _, classes, sparse = band.on(self._at)
        dense = weight if sparse is None else weight.masked_fill(sparse.kept > 0, 0.0)
        own = weighting if weighting.shape[0] == 1 else band.of(weighting)
        emphasis = to_device(own, self._at).clamp(min=0)  # Fisher information is below 0 where it was rounded
        scale, codes = search(dense, emphasis, classes, self._words, self._rounded.grid.tile_in)
        band.set_codes(codes, scale)

    def _hessian(self, band: RowBand) -> SharedHessian:
        """Return the Hessian of a band; that of other rows leaves the device."""
        for number, shared in enumerate(self._parts):
            if number != band.part:
                shared.release()
        return self._parts[band.part]

    def _fisher(self, fisher: np.ndarray) -> Iterator[torch.Tensor]:
        """Yield the rows of the Fisher information on the device, and note the sums of its rows after the last."""
        sums: list[np.ndarray] = []
        for part in self._slices(fisher):
            sums.append(usable_row_sums(part))
            yield part
        self._fisher_sums = np.concatenate(sums)

    def _slices(self, matrix: np.ndarray) -> Iterator[torch.Tensor]:
        """Yield the rows of a matrix on the device, some at a time."""
        if matrix is self._weight and len(self._bands) == 1:
            yield self._bands[0].weight
            return
        for low in range(0, matrix.shape[0], self._most):
            yield to_device(matrix[low : low + self._most], self._at)

    @contextmanager
    def _errors(self, doing: str) -> Iterator[None]:
        """Compute with all bits of float32; name the layer if the device fails."""
        with explained(f"{doing} {self._layer}", self._device), float32_products():
            yield


def _is_sound(weight: torch.Tensor) -> bool:
    """Return whether all weights are finite and have magnitudes that float16 holds."""
    low, high = (float(part) for part in weight.aminmax())
    return low >= -LARGEST and high <= LARGEST  # false for NaN


def _cut(rows: np.ndarray, most: int) -> list[np.ndarray]:
    """Return an index of rows in pieces."""
    return [rows[low : low + most] for low in range(0, rows.size, most)]
