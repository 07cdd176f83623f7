"""Tiles, weight values, energies and sizes that are refused; the width of rounded inputs."""

from dataclasses import replace

import numpy as np
import pytest

from haloquant.accel.cost_model.layer_work import layer_works
from haloquant.accel.simulation import simulate
from haloquant.accel.workload.prefill_decode import Workload
from haloquant.dvfs.schedule import plan
from haloquant.errors import InputError, ProfileError
from haloquant.records import Gemm, InputBits
from support.accel_cases import BASE, MIDDLE, TOP, WEIGHTS, tiny_case, toy_profile, toy_target

POINTS = (BASE, MIDDLE, TOP)


def test_tiles_of_another_array_and_unknown_values_are_refused() -> None:
    workload, tiles = tiny_case()
    schedule = plan(workload.gemms, tiles, POINTS, BASE)
    with pytest.raises(
        InputError, match=r"^tiles of 0.q must be 16 x 8 \(out x in\) as the array of toy is, not 8 x 8$"
    ):
        simulate(workload, tiles, schedule, toy_target(8, 16), toy_profile())
    some = {name: replace(t, values=(t.values + 1).astype(np.int16)) for name, t in tiles.items()}
    with pytest.raises(ProfileError, match=r"^weight values of 0.q must be among the 256 of profile toy .*, not 128$"):
        simulate(workload, some, schedule, toy_target(), toy_profile())
    blank = replace(toy_profile(), energy_j=np.where(WEIGHTS == 64, np.nan, toy_profile().energy_j))
    with pytest.raises(ProfileError, match=r"^energy of weight value 64 must be known to profile toy, not NaN; char"):
        simulate(workload, tiles, schedule, toy_target(), blank)
    with pytest.raises(InputError, match=r"^corner must be 0 to 0 for profile toy, not 3$"):
        simulate(workload, tiles, schedule, toy_target(), toy_profile(), corner=3)
    with pytest.raises(InputError, match=r"^cycles_per_mac must be above 0, not 0$"):
        simulate(workload, tiles, schedule, toy_target(), toy_profile(), cycles_per_mac=0.0)


@pytest.mark.parametrize(("name", "value"), [("m", 0), ("k", -3), ("n", 0), ("count", -1)])
def test_sizes_that_are_not_positive_are_refused(name: str, value: int) -> None:
    gemm = replace(Gemm("x", 1, 8, 8, 0), **{name: value})
    workload = Workload("bad", "decode", (gemm,), 1, 1, 1)
    with pytest.raises(InputError, match=f"^{name} of x must be at least 1, not {value}$"):
        simulate(workload, {}, plan(workload.gemms, {}, (), BASE), toy_target(), toy_profile())


def test_rows_of_a_group_must_be_equal() -> None:
    workload = Workload("bad", "decode", (Gemm("x", 1, 8, 8, 0), Gemm("y", 2, 8, 8, 0)), 1, 1, 1)
    with pytest.raises(InputError, match=r"^layers of one dependency group must have equal rows, not 1 and 2 \(y\)$"):
        simulate(workload, {}, plan(workload.gemms, {}, (), BASE), toy_target(), toy_profile())


@pytest.mark.parametrize(
    ("bits", "width", "passes"),
    [
        (InputBits(8), 8, 1),
        (InputBits(6), 6, 1),
        (InputBits(4), 4, 1),
        (InputBits(12), 12, 2),  # 8-bit multipliers take 12 bits in two passes
        (InputBits(8, 4, 0.25), 7, 1),  # 0.75 x 8 + 0.25 x 4
        (InputBits(12, 4, 0.5), 8, 1.5),
    ],
)
def test_inputs_move_at_their_own_width_and_are_multiplied_at_the_macs(
    bits: InputBits, width: float, passes: float
) -> None:
    """Narrow inputs save bytes alone; wide ones take more cycles and energy. Outputs and attention stay as they are."""
    workload, tiles = tiny_case()
    profile = toy_profile()
    before = layer_works(workload, tiles, toy_target(), profile, 0, 8, 1.0)
    rounded = {name: replace(part, input_bits=bits) for name, part in tiles.items()}
    after = layer_works(workload, rounded, toy_target(), profile, 0, 8, 1.0)
    for old, new in zip(before, after, strict=True):
        if old.tile_j is None or new.tile_j is None:
            assert new == old
            continue
        assert new.input_bytes == old.gemm.m * old.gemm.k * width / 8
        assert (new.output_bytes, new.weight_bytes) == (old.output_bytes, old.weight_bytes)
        assert new.cycles_per_mac == passes * old.cycles_per_mac
        np.testing.assert_allclose(new.tile_j, passes * old.tile_j)


def test_a_mac_of_four_bit_inputs_runs_once_over_a_token_in_four_bits_and_twice_over_one_in_eight() -> None:
    workload, tiles = tiny_case()
    narrow = replace(toy_profile(), activation_bits=4)
    plain = layer_works(workload, tiles, toy_target(), narrow, 0, 8, 1.0)
    mixed = {name: replace(part, input_bits=InputBits(8, 4, 0.25)) for name, part in tiles.items()}
    for old, new in zip(plain, layer_works(workload, mixed, toy_target(), narrow, 0, 8, 1.0), strict=True):
        if old.tile_j is not None:
            assert new.cycles_per_mac == 1.75 * old.cycles_per_mac


def test_narrow_inputs_save_bytes_of_the_on_chip_memory_and_dram_that_they_do_not_fit() -> None:
    """Inputs beyond half of the memory come from DRAM, at their own width; the arrays take the same cycles."""
    workload, tiles = tiny_case()
    target = replace(toy_target(), sram=replace(toy_target().sram, size_b=16.0))
    schedule = plan(workload.gemms, tiles, POINTS, BASE)
    found = {}
    for bits in (8, 4):
        some = {name: replace(part, input_bits=InputBits(bits)) for name, part in tiles.items()}
        found[bits] = simulate(workload, some, schedule, target, toy_profile())
    wide, narrow = found[8], found[4]
    assert narrow.dram_bytes < wide.dram_bytes and narrow.total.energy_j["sram"] < wide.total.energy_j["sram"]
    assert narrow.total.cycles == wide.total.cycles
    assert narrow.total.energy_j["mac"] == wide.total.energy_j["mac"]
