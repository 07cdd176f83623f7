"""Energy of one step by component.

Switching energy scales with the square of the supply, leakage power with the supply.
"""

from collections.abc import Sequence

from haloquant.accel.cost_model.layer_work import LayerWork
from haloquant.accel.cost_model.memory_traffic import MemoryTraffic
from haloquant.accel.cost_model.schedule_steps import Island, LayerPart, Step
from haloquant.accel.target import Target

COMPONENTS = ("mac", "spmv", "sram", "accumulator", "dram", "leakage", "dvfs")


def switching_energy_j(
    part: LayerPart,
    island: Island,
    works: Sequence[LayerWork],
    traffics: Sequence[MemoryTraffic],
    target: Target,
    corner_v: float,
    mean_mac_j: float,
) -> dict[str, float]:
    """Return the switching energy in J of one layer's part of a step, by component.

    The multipliers' energy is (histogram of weight values) x (the profile's energy of each value) x rows, so it depends
    on the weight values that are present. The accumulators run at the arrays' supply. Memories and the sparse engine
    have supplies of their own.

    Args:
        part: The part of the layer.
        island: The arrays that run it, with their clock and supply.
        works: The work of every layer.
        traffics: The bytes that every layer moves.
        target: The machine.
        corner_v: The supply at which the profile's energies hold.
        mean_mac_j: The profile's energy averaged over its weight values, for the sparse engine.
    """
    work, traffic = works[part.layer], traffics[part.layer]
    v, base_v = island.point.voltage_v, target.base.voltage_v
    accumulator = target.accumulator
    return {
        "mac": work.gemm.m * part.tile_j * (v / corner_v) ** 2,
        "spmv": part.share * work.nnz * work.gemm.m * mean_mac_j * (target.spmv.point.voltage_v / corner_v) ** 2,
        "sram": 8
        * part.share
        * (traffic.sram_read * target.sram.read_j_per_bit + traffic.sram_write * target.sram.write_j_per_bit),
        "accumulator": 8
        * part.share
        * (
            traffic.accumulator_read * accumulator.read_j_per_bit
            + traffic.accumulator_write * accumulator.write_j_per_bit
        )
        * (v / base_v) ** 2,
        "dram": 8 * part.share * traffic.dram * target.dram.energy_j_per_bit,
    }


def leakage_w(step: Step, target: Target) -> float:
    """Return the leakage power in W during a step: all arrays at their supplies, and the rest of the chip.

    Arrays that no island of the step uses stay at the base supply.
    """
    base = target.base.voltage_v
    used = sum(island.arrays for island in step.islands)
    scaled = sum(island.arrays * island.point.voltage_v / base for island in step.islands)
    return target.static.array_w * (scaled + target.array.count - used) + target.static.rest_w
