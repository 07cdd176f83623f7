"""A real schedule's tile order on our own array description: cycles and products, in Icarus Verilog and Verilator."""

import shutil

import numpy as np
import pytest

from haloquant.accel.cost_model.cycles import WeightLoad
from haloquant.accel.workload.prefill_decode import Workload
from haloquant.dvfs.schedule import plan
from haloquant.eda.crosscheck import verilog_array
from haloquant.eda.crosscheck.array_feed import ArrayProgram, array_program
from haloquant.errors import InputError, ToolError
from support.accel_cases import BASE, MIDDLE, TOP, random_tiles, tiny_workload

pytestmark = pytest.mark.crosscheck
needs_icarus = pytest.mark.skipif(shutil.which("iverilog") is None, reason="Icarus Verilog (iverilog) is not installed")
needs_verilator = pytest.mark.skipif(shutil.which("verilator") is None, reason="Verilator is not installed")


def _program(m: int, rows: int = 8, columns: int = 8, layers: int = 2, policy: str = "serpentine") -> ArrayProgram:
    workload: Workload = tiny_workload(m, layers)
    tiles = random_tiles(workload, m)
    schedule = plan(workload.gemms, tiles, (BASE, MIDDLE, TOP), BASE, policy)
    assert schedule.transitions > 2
    rng = np.random.default_rng(m)
    values = {g.layer: rng.integers(-128, 128, (g.n, g.k)).astype(np.int8) for g in workload.gemms}
    inputs = {g.layer: rng.integers(-128, 128, (m, g.k)).astype(np.int8) for g in workload.gemms}
    program = array_program(schedule, values, inputs, rows, columns)
    places = zip(program.output_column.tolist(), values, strict=False)
    assert places
    # what the array must give is the layers' own products, side by side
    first = 0
    for gemm in workload.gemms:
        wanted = inputs[gemm.layer].astype(np.int64) @ values[gemm.layer].astype(np.int64).T
        assert (program.sums[:, first : first + gemm.n] == wanted).all()
        first += -(-gemm.n // columns) * columns
    return program


@needs_icarus
@pytest.mark.parametrize("load", [WeightLoad.DOUBLE, WeightLoad.NONE])
@pytest.mark.parametrize("m", [1, 5, 19])
def test_cycles_and_products_in_icarus(m: int, load: WeightLoad) -> None:
    program = _program(m)
    run = verilog_array.run_icarus(program, load)
    assert run.cycles == program.cycles(load)
    assert (run.sums == program.sums).all()


@pytest.mark.seldom
@needs_verilator
@pytest.mark.slow
def test_cycles_and_products_in_verilator() -> None:
    program = _program(11)
    run = verilog_array.run_verilator(program, WeightLoad.DOUBLE)
    assert run.cycles == program.cycles(WeightLoad.DOUBLE)
    assert (run.sums == program.sums).all()


@needs_icarus
def test_a_run_without_an_end_is_ended() -> None:
    with pytest.raises(ToolError, match="must finish within"):
        verilog_array.run_icarus(_program(19), WeightLoad.DOUBLE, limit_s=0.001)


def test_the_description_has_no_single_register_mode() -> None:
    with pytest.raises(InputError, match=r"^weight load of the array description must be none or double, not single$"):
        verilog_array.run_icarus(_program(5), WeightLoad.SINGLE)


def test_a_schedule_with_attention_has_no_program() -> None:
    workload = tiny_workload(5, 1, attention=True)
    schedule = plan(workload.gemms, random_tiles(workload, 0), (BASE, MIDDLE, TOP), BASE)
    with pytest.raises(InputError, match=r"^schedule of an array program must have tiles only and rows in one block$"):
        array_program(schedule, {}, {}, 8, 8)
