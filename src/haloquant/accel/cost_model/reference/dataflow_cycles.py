"""Cycles of whole matrix products by dataflow, to compare `cost_model.cycles` with SCALE-Sim and RTL simulations.

Source of the closed forms: SCALE-Sim (Samajdar et al., arXiv 1811.02883).
"""

from haloquant.accel.cost_model.cycles import WeightLoad, first_load_cycles, run_cycles
from haloquant.errors import TargetError


def weight_stationary_cycles(load: WeightLoad, rows: int, columns: int, m: int, k: int, n: int) -> int:
    """Return the cycles of one product [m, k] x [k, n] on one weight-stationary array.

    NONE equals SCALE-Sim 3.0.0's reported total + 1 on its stall-free rows (it reports the index of the last cycle).
    NONE and DOUBLE equal a Verilator simulation of our own array. SINGLE was not compared with another simulator.

    Raises:
        TargetError: A size is not positive.
    """
    for name, size in (("rows", rows), ("columns", columns), ("m", m), ("k", k), ("n", n)):
        if size <= 0:
            raise TargetError(f"{name} of a matrix product on an array must be at least 1, not {size}")
    folds = -(-k // rows) * -(-n // columns)
    return first_load_cycles(load, rows) + run_cycles(load, rows, columns, m, folds)


def input_stationary_cycles(rows: int, columns: int, m: int, k: int, n: int) -> int:
    """Return the cycles of [m, k] x [k, n] with stationary activations and streamed weights, without overlap."""
    return -(-k // rows) * -(-m // columns) * (2 * rows + columns + n - 2)


def output_stationary_cycles(rows: int, columns: int, m: int, k: int, n: int) -> int:
    """Return the cycles of [m, k] x [k, n] with stationary partial sums, without overlap."""
    return -(-m // rows) * -(-n // columns) * (rows + columns + k - 2)
