"""Converts a schedule to the sequence of tiles that one systolic array processes, and where the array must drain first.

It is used for the check against a Verilog description of the array. Rows are not cut into blocks.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from jaxtyping import Bool, Int8, Int32, Int64

from haloquant.accel.cost_model.cycles import WeightLoad, first_load_cycles, run_cycles
from haloquant.errors import InputError
from haloquant.records import OperatingPoint, Schedule


@dataclass(frozen=True)
class ArrayProgram:
    """The tiles in order. Layers are concatenated: inputs are [m, k of all layers], outputs [m, n of all layers],
    padded.
    """

    rows: int
    columns: int
    weights: Int8[np.ndarray, "tiles rows columns"]  # row: input feature, column: output feature
    input_column: Int32[np.ndarray, " tiles"]
    output_column: Int32[np.ndarray, " tiles"]
    drain: Bool[np.ndarray, " tiles"]
    inputs: Int8[np.ndarray, "m k"]
    outputs: int  # columns of the result

    @property
    def sums(self) -> Int64[np.ndarray, "m n"]:
        """The expected output of the array: the product of every tile, added at the columns of the tile."""
        result = np.zeros((len(self.inputs), self.outputs), np.int64)
        for tile, k, n in zip(self.weights, self.input_column.tolist(), self.output_column.tolist(), strict=True):
            part = self.inputs[:, k : k + self.rows].astype(np.int64) @ tile.astype(np.int64)
            result[:, n : n + self.columns] += part
        return result

    def cycles(self, load: WeightLoad) -> int:
        """Return the cycles of the whole program by the closed-form model."""
        bounds = [0, *np.flatnonzero(self.drain).tolist(), len(self.drain)]
        runs = [
            run_cycles(load, self.rows, self.columns, len(self.inputs), stop - start)
            for start, stop in pairwise(bounds)
        ]
        return first_load_cycles(load, self.rows) + sum(runs)


def array_program(
    schedule: Schedule,
    values: Mapping[str, Int8[np.ndarray, "out in"]],
    inputs: Mapping[str, Int8[np.ndarray, "m in"]],
    rows: int,
    columns: int,
) -> ArrayProgram:
    """Return the program of a schedule.

    Args:
        schedule: Phases on one array; every layer in it has tiles.
        values: Integer weights by layer.
        inputs: Activations by layer; all have equally many rows.
        rows: R of the array.
        columns: C of the array.

    Raises:
        InputError: If a layer runs as a whole, rows are cut into blocks, or layers have different numbers of rows.
    """
    if any(count > 1 for count in schedule.row_blocks.values()) or any(phase.whole for phase in schedule.phases):
        raise InputError("schedule of an array program must have tiles only and rows in one block")
    if len({len(x) for x in inputs.values()}) != 1:
        raise InputError("activations of an array program must have equally many rows in every layer")
    wide = {name: _padded(values[name], columns, rows) for name in schedule.layers}
    tall = {name: _padded(inputs[name], 1, rows) for name in schedule.layers}
    k_first = np.cumsum([0, *(tall[name].shape[1] for name in schedule.layers)])
    n_first = np.cumsum([0, *(wide[name].shape[0] for name in schedule.layers)])
    tiles: list[Int8[np.ndarray, "rows columns"]] = []
    places: list[tuple[int, int, bool]] = []
    last: tuple[int, OperatingPoint] | None = None
    for phase in schedule.phases:
        here = (phase.group, phase.point)
        for number, (layer, down, across) in enumerate(phase.tiles.tolist()):
            block = wide[schedule.layers[layer]]
            out, into = down * columns, across * rows
            tiles.append(block[out : out + columns, into : into + rows].T)
            drain = number == 0 and last is not None and here != last
            places.append((int(k_first[layer]) + into, int(n_first[layer]) + out, drain))
        last = here
    table = np.array(places, np.int32)
    return ArrayProgram(
        rows,
        columns,
        np.stack(tiles),
        table[:, 0],
        table[:, 1],
        table[:, 2] > 0,
        np.concatenate([tall[name] for name in schedule.layers], axis=1),
        int(n_first[-1]),
    )


def _padded(array: Int8[np.ndarray, "a b"], first: int, second: int) -> Int8[np.ndarray, "c d"]:
    """Return the array, padded with zeros so that its sides are multiples of `first` and `second`."""
    return np.pad(array, ((0, -array.shape[0] % first), (0, -array.shape[1] % second)))
