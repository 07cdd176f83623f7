"""Some rows of a layer: their weights and what the steps have found for them."""

import numpy as np
import torch

from haloquant.kernels.device_copies import moved, to_device
from haloquant.kernels.rounding.column_steps import SparsePart
from haloquant.kernels.rounding.word_tensors import WordTensors, scaled_words
from haloquant.quant.rounding.refinement import PRUNED
from haloquant.records import SparseWeights

MOST_STEPS = 127  # largest value of a symmetric int8


class RowBand:
    """Rows of a layer that share a Hessian. Between two steps their tensors wait on the device `home`.

    Attributes:
        part: number of the Hessian.
        rows: index of the rows in the layer, ascending.
        weight: float32 [rows, in].
        codes: uint8 [rows, in].
        scale: float32 [rows, across].
        entries: which sparse weights of the layer are in these rows.
        integers: their values, int8.
    """

    def __init__(self, part: int, rows: np.ndarray, weight: np.ndarray, home: torch.device) -> None:
        """Take these rows of the weight [out, in] of the layer."""
        self.part, self.rows, self._home = part, rows, home
        self.weight = self._at_home(self.of(weight))
        self.codes, self.scale = torch.empty(0), torch.empty(0)
        self.entries, self.integers = np.empty(0, np.int64), torch.empty(0, dtype=torch.int8)
        self._places: tuple[torch.Tensor, torch.Tensor] | None = None
        self._kept: torch.Tensor | None = None
        self._step, self._classes = torch.empty(0), torch.empty(0)

    def of(self, matrix: np.ndarray) -> np.ndarray:
        """Return these rows of a matrix [out, in] of the layer; the matrix itself if they are all."""
        return matrix if self.rows.size == matrix.shape[0] else matrix[self.rows]

    def set_sparse(self, sparse: SparseWeights, pruned: np.ndarray | None) -> None:
        """Take the sparse weights of the layer, and the mask [out, in] of pruned weights."""
        self.entries = np.nonzero(np.isin(sparse.rows, self.rows))[0]
        self._places, self._kept, self._step = None, None, self._at_home(sparse.scale[self.rows])
        self.values_of(sparse)
        if self.entries.size:
            rows = np.searchsorted(self.rows, sparse.rows[self.entries])
            self._places = (self._at_home(rows), self._at_home(sparse.cols[self.entries].astype(np.int64)))
        if self.entries.size or pruned is not None:
            self._kept = torch.zeros(self.weight.shape, dtype=torch.uint8, device=self._home)
            if pruned is not None:
                self._kept[self._at_home(self.of(pruned))] = PRUNED
            if self._places is not None:
                self._kept[self._places] = 1

    def values_of(self, sparse: SparseWeights) -> None:
        """Take the sparse values that the layer had before it was rounded."""
        self.integers = self._at_home(sparse.values[self.entries])

    def set_classes(self, classes: np.ndarray) -> None:
        """Take the class of each (row, tile) of the layer [out, across]."""
        self._classes = self._at_home(classes[self.rows].astype(np.int64))
        self.scale = torch.empty(self._classes.shape, device=self._home)
        self.codes = torch.empty(self.weight.shape, dtype=torch.uint8, device=self._home)

    def set_codes(self, codes: torch.Tensor, scale: torch.Tensor) -> None:
        """Take codes and scales."""
        self.codes, self.scale = moved(codes, self._home), moved(scale, self._home)

    def keep(self, codes: torch.Tensor, scale: torch.Tensor, weight: torch.Tensor, errors: torch.Tensor) -> None:
        """Take codes and scales; round the sparse weights from weight - errors."""
        self.set_codes(codes, scale)
        if self._places is None:
            return
        rows, cols = (part.to(weight.device) for part in self._places)
        step = self._step.to(weight.device)[rows]
        wanted = (weight[rows, cols] - errors[rows, cols]) / torch.where(step == 0, 1.0, step)
        integers = torch.where(step == 0, 0.0, wanted.round().clamp(-MOST_STEPS, MOST_STEPS))
        self.integers = integers.to(torch.int8).to(self._home)

    def on(
        self, device: torch.device
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor, SparsePart | None]:
        """Return weight, codes, scales, classes and sparse part (None if there is none) on a device."""
        sparse = None
        if self._kept is not None:
            sparse = SparsePart(moved(self._kept, device), moved(self._step, device))
        parts = (moved(part, device) for part in (self.weight, self.codes, self.scale, self._classes))
        weight, codes, scale, classes = parts
        return weight, codes, scale, classes, sparse

    def values(self, words: WordTensors, tile_in: int, device: torch.device) -> torch.Tensor:
        """Return the rounded weights on a device, float32 [rows, in]."""
        codes, scale, classes = (moved(part, device) for part in (self.codes, self.scale, self._classes))
        found = scaled_words(codes, scale, classes, words, tile_in)
        if self._places is not None:
            rows, cols = (part.to(device) for part in self._places)
            found[rows, cols] = self.integers.to(device).float() * self._step.to(device)[rows]
        return found

    def _at_home(self, array: np.ndarray) -> torch.Tensor:
        return to_device(array, self._home)
