"""Measured cost of products with packed layers: seconds and joules by shape, by words of the tiles and by batch.

OHQ (arXiv 2309.01945) allocates bits by such a table instead of counted operations: what a class saves on a machine is
what its own kernels take there.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Literal, get_args

import numpy as np
from jaxtyping import Float64

from haloquant.errors import InputError
from haloquant.records.tiles import CLASS_WORDS

# All tiles of 9 words; half of them of 9 words and half of 16; all of 16; all of 256, a byte for each weight.
Mix = Literal["nine", "half", "sixteen", "bytes"]
MIXES: tuple[Mix, ...] = get_args(Mix)


@dataclass(frozen=True, slots=True)
class OperatorRow:
    """One product.

    Attributes:
        out_features: outputs of the layer.
        in_features: inputs of the layer.
        mix: words of its tiles.
        batch: tokens that it multiplies.
        median_s: median seconds of one product.
        least_s: the fastest.
        most_s: the slowest.
        energy_j: mean joules of one product; None where no counter was read.
        read_b: stored bytes that it reads.
    """

    out_features: int
    in_features: int
    mix: Mix
    batch: int
    median_s: float
    least_s: float
    most_s: float
    energy_j: float | None
    read_b: int


@dataclass(frozen=True)
class OperatorTable:
    """The rows of a model's layers on one machine.

    Attributes:
        model: the model whose shapes were measured.
        device: the processor, or the graphics processor.
        threads: threads of torch.
        tile: rows and columns of a tile.
        sparse_share: share of the weights that were sparse.
        repeats: passes over the layers of the model.
        energy_source: the counters that were read; "" for none.
        rows: one for every shape, mix and batch.
    """

    model: str
    device: str
    threads: int
    tile: int
    sparse_share: float
    repeats: int
    energy_source: str
    rows: tuple[OperatorRow, ...]

    @cached_property
    def _by_key(self) -> dict[tuple[int, int, str, int], OperatorRow]:
        return {(row.out_features, row.in_features, row.mix, row.batch): row for row in self.rows}

    @property
    def batches(self) -> tuple[int, ...]:
        """The batches, ascending."""
        return tuple(sorted({row.batch for row in self.rows}))

    def row(self, shape: tuple[int, int], mix: Mix, batch: int) -> OperatorRow:
        """Return the row of a shape (out, in).

        Raises:
            InputError: There is none.
        """
        found = self._by_key.get((*shape, mix, batch))
        if found is None:
            batches = ", ".join(map(str, self.batches))
            raise InputError(
                f"the measured table must hold a product of {batch} token(s) with {shape[0]} x {shape[1]} weights in "
                f"tiles of {mix} words, and was measured for {self.model} at batches {batches}; measure-ops measures it"
            )
        return found

    def class_costs(
        self, shape: tuple[int, int], words: tuple[int, ...], batch: int
    ) -> tuple[Float64[np.ndarray, " classes"], Float64[np.ndarray, " classes"] | None]:
        """Return the seconds and the joules of a layer with all its tiles in each class; no joules if none are known.

        Args:
            shape: Its outputs and inputs.
            words: Number of words of each class; up to 9 are stored as 9, and up to 16 as 16.
            batch: Tokens.

        Raises:
            InputError: A row is missing.
        """
        rows = [self.row(shape, mix_of(count), batch) for count in words]
        energies = [row.energy_j for row in rows if row.energy_j is not None]
        joules = np.array(energies) if len(energies) == len(rows) else None
        return np.array([row.median_s for row in rows]), joules


def mix_of(words: int) -> Mix:
    """Return how tiles with a number of words are stored, and so which kernel multiplies them."""
    return "nine" if words <= CLASS_WORDS[0] else "sixteen" if words <= CLASS_WORDS[1] else "bytes"


def repeated_row(rows: tuple[OperatorRow, ...]) -> OperatorRow | None:
    """Return a row whose shape, mix and batch another row before it has, or None."""
    seen: set[tuple[int, int, str, int]] = set()
    for row in rows:
        key = (row.out_features, row.in_features, row.mix, row.batch)
        if key in seen:
            return row
        seen.add(key)
    return None
