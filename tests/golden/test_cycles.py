"""Cycles against every stall-free row of SCALE-Sim 3.0.0 and every row of an RTL simulation."""

import csv
from collections.abc import Callable
from pathlib import Path

import pytest

from haloquant.accel.cost_model.cycles import WeightLoad, drain_cycles, first_load_cycles, run_cycles
from haloquant.accel.cost_model.reference.dataflow_cycles import (
    input_stationary_cycles,
    output_stationary_cycles,
    weight_stationary_cycles,
)
from haloquant.errors import TargetError


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_every_rtl_row(find_data: Callable[[str], Path]) -> None:
    rows = _rows(find_data("oracle/rtl_cycles.csv"))
    assert len(rows) == 30
    for row in rows:
        load = WeightLoad.DOUBLE if row["double_buffer"] == "1" else WeightLoad.NONE
        r, c, m, k, n = (int(row[x]) for x in ("R", "C", "M", "K", "N"))
        assert weight_stationary_cycles(load, r, c, m, k, n) == int(row["rtl_cycles"]), row


def test_every_stall_free_scalesim_row(find_data: Callable[[str], Path]) -> None:
    rows = _rows(find_data("oracle/scalesim_cycles.csv"))
    free = [row for row in rows if row["reported_plus_1_equals_closed_form"] == "True"]
    assert (len(rows), len(free)) == (23, 19)
    for row in free:
        r, c, m, k, n = (int(row[x]) for x in ("array_rows", "array_cols", "M", "K", "N"))
        if row["dataflow"] == "is":
            cycles = input_stationary_cycles(r, c, m, k, n)
        else:
            cycles = weight_stationary_cycles(WeightLoad.NONE, r, c, m, k, n)
        assert cycles == int(row["reported_total_cycles"]) + 1, row
        if row["double_buffered_model_cycles"]:
            assert weight_stationary_cycles(WeightLoad.DOUBLE, r, c, m, k, n) == int(
                row["double_buffered_model_cycles"]
            )


def _event_by_event(load: WeightLoad, rows: int, columns: int, m: int, folds: int) -> int:
    """The slow twin: move a clock from event to event, one fold after the other."""
    loaded = rows  # when the weights of the first fold stand in the array
    free = 0  # when the array can take the next stream
    done = 0
    for fold in range(folds):
        start = max(loaded, free)
        done = start + m + drain_cycles(rows, columns)
        free = start + m
        if load is WeightLoad.NONE:
            loaded = done + rows
        elif load is WeightLoad.SINGLE:
            loaded = free + rows
        else:
            loaded = start + rows  # the shadow register is free once its weights have moved into the array
        del fold
    return done


@pytest.mark.parametrize("load", list(WeightLoad))
@pytest.mark.parametrize("m", [1, 3, 4, 5, 40])
@pytest.mark.parametrize("folds", [1, 2, 7])
def test_closed_forms_equal_their_slow_twin(load: WeightLoad, m: int, folds: int) -> None:
    fast = first_load_cycles(load, 4) + run_cycles(load, 4, 6, m, folds)
    assert fast == _event_by_event(load, 4, 6, m, folds)


def test_output_stationary_by_hand() -> None:
    # 4x4 array, [5, 3] x [3, 6]: 2 x 2 folds of 4 + 4 + 3 - 2 cycles
    assert output_stationary_cycles(4, 4, 5, 3, 6) == 4 * 9


@pytest.mark.parametrize("name", ["rows", "columns", "m", "k", "n"])
def test_sizes_must_be_positive(name: str) -> None:
    sizes = {"rows": 4, "columns": 4, "m": 1, "k": 4, "n": 4, name: 0}
    with pytest.raises(TargetError, match=f"^{name} of a matrix product on an array must be at least 1, not 0$"):
        weight_stationary_cycles(WeightLoad.DOUBLE, **sizes)
