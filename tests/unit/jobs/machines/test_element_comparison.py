"""Elements of other papers beside HALO on one machine."""

from dataclasses import replace

import pytest

from haloquant.accel.workload.prefill_decode import prefill
from haloquant.jobs.machines.element_comparison import compare_elements
from haloquant.records import InputBits
from haloquant.store.targets import read_systolic
from support.machine_models import LOADED, SHAPE


def test_other_elements_run_on_the_same_machine() -> None:
    rows = {row.element: row for row in compare_elements(LOADED, prefill(SHAPE, 64), read_systolic("tpuv4i_like"))}
    plain, halo, four = rows["W8A8 array"], rows["HALO on W8A8 array"], rows["W4A4 array"]
    assert rows["W4A8 shift-and-add"].bops < plain.bops and four.ebops < rows["W4A8 shift-and-add"].ebops
    # powers of two are one effective bit each: far below eight-bit integers
    assert halo.ebops < plain.ebops / 2
    assert plain.frequency_hz == read_systolic("tpuv4i_like").base.frequency_hz
    assert four.frequency_hz > plain.frequency_hz and four.energy_j < plain.energy_j
    serial = rows["W8A8 bit-serial"]
    assert "W8A8 bit-serial, early stop" not in rows
    assert (serial.cycles_per_mac, serial.bops) == (8, plain.bops) and serial.frequency_hz > four.frequency_hz


def test_narrow_inputs_of_a_model_change_no_element() -> None:
    """Each element has bits of inputs of its own; else HALO alone would move fewer bytes."""
    target, workload = read_systolic("tpuv4i_like"), prefill(SHAPE, 64)
    narrow = replace(LOADED, input_bits=InputBits(4), density=0.5)
    assert compare_elements(narrow, workload, target) == compare_elements(LOADED, workload, target)


def test_a_bit_serial_element_that_stops_early_takes_its_digits() -> None:
    rows = compare_elements(LOADED, prefill(SHAPE, 64), read_systolic("tpuv4i_like"), 6.0)
    found = {row.element: row for row in rows}
    whole, stopped = found["W8A8 bit-serial"], found["W8A8 bit-serial, early stop"]
    assert (whole.cycles_per_mac, stopped.cycles_per_mac) == (8, 6)
    assert stopped.mac_j == pytest.approx(0.75 * whole.mac_j, rel=1e-6)
    assert 0.75 * whole.time_s <= stopped.time_s < whole.time_s
