"""Cycles of a systolic array: closed forms, checked row by row against SCALE-Sim 3.0.0 and an RTL simulation.

An array has R rows (the direction of accumulation) and C columns. A product [m, k] x [k, n] is cut into
F = ceil(k/R) * ceil(n/C) folds, one per weight tile. Per fold the weights are loaded (R cycles, one row per cycle),
m rows of activations stream through, and the last result leaves R + C - 2 cycles later: the skew, which is the drain.
"""

from enum import StrEnum

from haloquant.errors import TargetError


class WeightLoad(StrEnum):
    """What the loading of the next tile's weights overlaps with."""

    NONE = "none"  # load, stream and drain one after the other: SCALE-Sim's weight-stationary schedule
    SINGLE = "single"  # one weight register: the drain overlaps, the load does not
    DOUBLE = "double"  # a shadow register: the next tile loads while this one streams


def drain_cycles(rows: int, columns: int) -> int:
    """Return the cycles from the last activation entering to the last result leaving."""
    return rows + columns - 2


def first_load_cycles(load: WeightLoad, rows: int) -> int:
    """Return the weight load that nothing can hide: the one before the very first fold of a run."""
    return rows if load is WeightLoad.DOUBLE else 0


def run_cycles(load: WeightLoad, rows: int, columns: int, m: int, folds: int) -> int:
    """Return the cycles of `folds` tiles run back to back at one clock and then drained, without the first load.

    With a shadow register the next tile's weights arrive while the array still streams or drains, so a following run
    starts with its weights in place: only the first run of all pays `first_load_cycles`.

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


def gemm_cycles(load: WeightLoad, rows: int, columns: int, m: int, k: int, n: int) -> int:
    """Return the cycles of one product [m, k] x [k, n] on one weight-stationary array.

    NONE equals SCALE-Sim 3.0.0's reported total + 1 on its stall-free rows (it reports the index of the last cycle);
    NONE and DOUBLE equal a Verilator simulation of our own array. SINGLE is derived only.

    Raises:
        TargetError: if a size is not positive.
    """
    for name, size in (("rows", rows), ("columns", columns), ("m", m), ("k", k), ("n", n)):
        if size <= 0:
            raise TargetError(f"{name} of a matrix product on an array must be at least 1, not {size}.")
    folds = -(-k // rows) * -(-n // columns)
    return first_load_cycles(load, rows) + run_cycles(load, rows, columns, m, folds)


def input_stationary_cycles(rows: int, columns: int, m: int, k: int, n: int) -> int:
    """Return the cycles of [m, k] x [k, n] with the activations held and the weights streamed, nothing overlapped."""
    return -(-k // rows) * -(-m // columns) * (2 * rows + columns + n - 2)


def output_stationary_cycles(rows: int, columns: int, m: int, k: int, n: int) -> int:
    """Return the cycles of [m, k] x [k, n] with the partial sums held, nothing overlapped."""
    return -(-m // rows) * -(-n // columns) * (rows + columns + k - 2)
