"""One layer while it is rounded, behind one interface with two engines: numba on the CPU, and torch on any device.

`jobs.quantize.layer_rounding` describes the order of the steps once, with the methods of `LayerRounder`. `NumbaLayer`
is the default on a CPU and the reference of the other engine, `kernels.rounding.torch_layer.TorchLayer`. From equal
inputs the two differ where float32 sums round differently: a weight near the middle of two words may take the other.
"""

from collections.abc import Sequence
from typing import Literal, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float32, Float64

from haloquant.quant.float16 import size_exponent
from haloquant.quant.input_checks import check_tiles
from haloquant.quant.kronecker_loss import rounding_losses
from haloquant.quant.layer import layer_factors, quantize_weight, quantize_weight_compensated, resized
from haloquant.quant.rounding.compensation import Factor
from haloquant.quant.rounding.pruning import pruned_weights
from haloquant.quant.rounding.refinement import refine_layer
from haloquant.quant.sensitivity import layer_scores
from haloquant.quant.sparse import split
from haloquant.records import Codebook, LayerStatistics, QuantizedWeight, SparseWeights, TileGrid, TileMap

DAMPING = 0.01  # share of the Hessian's mean diagonal that is added to its diagonal
RoundingEngine = Literal["auto", "numba", "torch"]
"""What rounds: numba on the CPU, torch on the task's device, or (`auto`) numba where that device is the CPU."""


@runtime_checkable
class LayerRounder(Protocol):
    """A weight with its statistics, and the words that the steps have chosen so far.

    The steps are called in this order: `split`, then `round_nearest` or `compensate`, then `refine` if wanted. After
    that, `quantized` and `tile_losses` read the result, and the layer may be rounded again in other classes.
    """

    def split(self, budget: float, pruned_share: float = 0.0) -> None:
        """Choose the sparse and the pruned weights, in place of those that were chosen.

        Args:
            budget: largest share of all weights that are sparse (`quant.sparse.split`).
            pruned_share: share of each output's weights that get the word 0 (`quant.rounding.pruning`).

        Raises:
            CheckpointError: The weight is not finite.
            InputError: The budget is not within 0..1, or the share not below 1.
        """
        ...

    def round_nearest(self, tiles: TileMap, codebooks: tuple[Codebook, ...]) -> None:
        """Search the scales, and round each weight to the nearest word (`quant.layer.quantize_weight`).

        Raises:
            InputError: Tiles, codebooks and weight do not fit.
            InfeasibleError: A codebook holds no value except 0.
        """
        ...

    def compensate(self, tiles: TileMap, codebooks: tuple[Codebook, ...]) -> None:
        """Search the scales, and round column by column (`quant.layer.quantize_weight_compensated`).

        Raises:
            InputError: Tiles, codebooks, statistics and weight do not fit.
            InfeasibleError: A codebook holds no value except 0.
        """
        ...

    def refine(self, share: float) -> None:
        """Refine this share of the tile columns once (`quant.rounding.refinement.refine_layer`)."""
        ...

    def quantized(self) -> QuantizedWeight:
        """Return the layer in HALO form."""
        ...

    def tile_losses(self) -> Float64[np.ndarray, "down across"]:
        """Return what rounding costs in each tile (`quant.kronecker_loss.rounding_losses`)."""
        ...

    def tile_sensitivity(self, grid: TileGrid) -> Float64[np.ndarray, "down across"]:
        """Return the mean importance of the weights of each tile (`quant.sensitivity.layer_scores`)."""
        ...


class NumbaLayer:
    """A `LayerRounder` that computes on the CPU with numba, numpy and scipy.

    The factors of the Hessians are computed once for all classes.
    """

    def __init__(self, weight: Float32[np.ndarray, "out in"], statistics: LayerStatistics | None, layer: str) -> None:
        self._original, self._statistics, self._layer = weight, statistics, layer
        self._exponent = size_exponent(weight)
        self._weight = weight * np.float32(2.0**self._exponent) if self._exponent else weight
        self._sparse: SparseWeights | None = None
        self._pruned: np.ndarray | None = None
        self._factors: Sequence[Factor] | None = None
        self._made: QuantizedWeight | None = None

    def split(self, budget: float, pruned_share: float = 0.0) -> None:
        """See `LayerRounder.split`."""
        self._sparse, kept = split(self._weight, self._statistics, layer=self._layer, budget=budget)
        self._pruned = pruned_weights(self._weight, kept, self._statistics, pruned_share)

    def round_nearest(self, tiles: TileMap, codebooks: tuple[Codebook, ...]) -> None:
        """See `LayerRounder.round_nearest`."""
        weight = self._weight if self._pruned is None else np.where(self._pruned, np.float32(0), self._weight)
        self._made = quantize_weight(
            weight, tiles=tiles, codebooks=codebooks, statistics=self._statistics, sparse=self._sparse
        )

    def compensate(self, tiles: TileMap, codebooks: tuple[Codebook, ...]) -> None:
        """See `LayerRounder.compensate`."""
        known = self._known()
        check_tiles(tiles, codebooks, (self._weight.shape[0], self._weight.shape[1]))
        if self._factors is None:
            self._factors = layer_factors(known, tiles.grid, damping=DAMPING, layer=self._layer)
        self._made = quantize_weight_compensated(
            self._weight,
            tiles=tiles,
            codebooks=codebooks,
            statistics=known,
            sparse=self._sparse,
            damping=DAMPING,
            pruned=self._pruned,
            factors=self._factors,
        )

    def refine(self, share: float) -> None:
        """See `LayerRounder.refine`."""
        self._made = refine_layer(
            self._weight, self._rounded(), self._known(), damping=DAMPING, share=share, pruned=self._pruned
        )

    def quantized(self) -> QuantizedWeight:
        """See `LayerRounder.quantized`."""
        return resized(self._rounded(), self._exponent)

    def tile_losses(self) -> Float64[np.ndarray, "down across"]:
        """See `LayerRounder.tile_losses`."""
        return rounding_losses(self._original, self.quantized(), self._statistics)

    def tile_sensitivity(self, grid: TileGrid) -> Float64[np.ndarray, "down across"]:
        """See `LayerRounder.tile_sensitivity`."""
        return layer_scores(self._statistics, grid)

    def _known(self) -> LayerStatistics:
        if self._statistics is None:
            raise ValueError("compensation must have statistics")
        return self._statistics

    def _rounded(self) -> QuantizedWeight:
        if self._made is None:
            raise ValueError("a layer must be rounded before its result is read")
        return self._made
