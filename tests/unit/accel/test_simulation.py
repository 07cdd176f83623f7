"""One layer worked out by hand."""

from dataclasses import replace

import numpy as np

from haloquant.accel.rival_systems import value_tiles
from haloquant.accel.simulation import simulate
from haloquant.accel.workload.prefill_decode import Workload
from haloquant.dvfs.schedule import plan
from haloquant.records import BitCount, Gemm, TileGrid
from support.accel_cases import BASE, TOP, toy_profile, toy_target
from support.near import near


def test_one_layer_by_hand() -> None:
    """One full tile of the value 64 on an 8 x 8 array, 3 rows, everything worked out on paper."""
    gemm = Gemm("x", 3, 8, 8, 0)
    workload = Workload("one", "decode", (gemm,), 3, 1, 1)
    grid = TileGrid(8, 8, 8, 8)
    tiles = {"x": value_tiles("x", np.full((8, 8), 64, np.int16), grid, BitCount(64, codes=256), nnz=2)}
    machine = replace(toy_target(), transition=replace(toy_target().transition, latency_s=0.0))
    run = simulate(workload, tiles, plan(workload.gemms, tiles, (TOP,), BASE), machine, toy_profile())
    assert run.total.cycles == 8 + 3 + 14
    # 32 bytes of weights at 18 GB/s take 1.78 ns, the array 17 cycles of 3.7 GHz: 4.59 ns
    assert run.total.time_s["compute"] == near(17 / 3.7e9)
    assert run.total.time_s["fill"] == near(8 / 3.7e9 + 50e-9 + 32 / 18e9)
    assert run.layers[0].bound == "compute" and run.dram_bytes == 32
    energy = 35e-15  # 64 has one set bit: 20 + 15 fJ
    assert run.total.energy_j["mac"] == near(64 * 3 * energy * 1.44)
    assert run.total.energy_j["spmv"] == near(2 * 3 * (20e-15 + 4 * 15e-15))  # mean of all values: 4 bits
    assert run.total.energy_j["dram"] == near(32 * 8 * 4e-12)
    # 24 bytes in, 6 gathered, 32 of weights read; 24 out and 32 in written
    assert run.total.energy_j["sram"] == near(8 * (62 * 0.25e-12 + 56 * 0.3e-12))
    assert run.total.energy_j["accumulator"] == near(3 * 8 * 32 * 0.5e-12 * 1.44)
    busy = 17 / 3.7e9 + run.total.time_s["fill"]
    assert run.total.energy_j["leakage"] == near(busy * (0.01 * 1.2 + 0.005))
    assert run.total.energy_j["dvfs"] == 0
    # the same MAC, characterized at half the supply of the machine: its energy is four times as high
    low = replace(machine, array=replace(machine.array, profile_voltage_v=0.5 * BASE.voltage_v))
    other = simulate(workload, tiles, plan(workload.gemms, tiles, (TOP,), BASE), low, toy_profile())
    assert other.total.energy_j["mac"] == near(4 * run.total.energy_j["mac"])
    assert other.total.energy_j["dram"] == run.total.energy_j["dram"]
