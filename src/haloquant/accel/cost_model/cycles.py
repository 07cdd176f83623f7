"""Cycles of a weight-stationary systolic array, as closed forms. Tests check them against SCALE-Sim 3.0.0 and RTL.

An array has R rows (the direction of accumulation) and C columns. A product [m, k] x [k, n] is cut into
F = ceil(k/R) * ceil(n/C) folds, one per weight tile. In each fold the weights are loaded (R cycles, one row per cycle),
then m rows of activations stream through. The last result leaves the array R + C - 2 cycles after the last activation
entered it; this is the drain.
"""

from enum import StrEnum


class WeightLoad(StrEnum):
    """What the load of the next tile's weights overlaps with."""

    NONE = "none"  # no overlap: load, stream and drain follow each other, as in SCALE-Sim's weight-stationary dataflow
    SINGLE = "single"  # one weight register: the load overlaps the drain, not the stream
    DOUBLE = "double"  # a shadow register: the load overlaps the stream of the tile before


def drain_cycles(rows: int, columns: int) -> int:
    """Return the cycles from the last activation entering to the last result leaving."""
    return rows + columns - 2


def first_load_cycles(load: WeightLoad, rows: int) -> int:
    """Return the cycles of the first weight load that `run_cycles` leaves out: R with a shadow register, else 0."""
    return rows if load is WeightLoad.DOUBLE else 0


def run_cycles(load: WeightLoad, rows: int, columns: int, m: int, folds: int) -> int:
    """Return the cycles of `folds` tiles that run back to back at one clock, with the final drain.

    With a shadow register the next tile's weights arrive while the array still streams or drains. A following run then
    finds its weights in place, so `first_load_cycles` is added only once, before the first run of a pass.

    Args:
        load: What the weight load overlaps with.
        rows: R of the array.
        columns: C of the array.
        m: Activation rows streamed per tile.
        folds: Tiles run one after the other on this array; 0 gives 0 cycles.
    """
    if folds == 0:
        return 0
    drain = drain_cycles(rows, columns)
    match load:
        case WeightLoad.NONE:
            return folds * (rows + m + drain)
        case WeightLoad.SINGLE:
            return folds * (rows + m) + drain
        case WeightLoad.DOUBLE:
            return (folds - 1) * max(m, rows) + m + drain
