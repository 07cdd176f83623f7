"""Energy of one step by component. Switching scales with the square of the supply, leakage with the supply."""

from collections.abc import Sequence

from haloquant.accel.billing.layer_work import LayerWork
from haloquant.accel.billing.memory_traffic import Traffic
from haloquant.accel.billing.steps import Lane, Piece, Step
from haloquant.accel.target import Target

COMPONENTS = ("mac", "spmv", "sram", "accumulator", "dram", "leakage", "dvfs")


def piece_energy(
    piece: Piece,
    lane: Lane,
    works: Sequence[LayerWork],
    moves: Sequence[Traffic],
    target: Target,
    corner_v: float,
    mean_mac_j: float,
) -> dict[str, float]:
    """Return the switching energy of one layer's part of a step.

    The multipliers' is (histogram of weight values) x (the profile's energy of each) x rows: it depends on the values
    actually present. The accumulators share the arrays' supply; memories and the sparse engine keep their own.

    Args:
        piece: The part of the layer.
        lane: Its clock and supply.
        works: All layers' work.
        moves: All layers' bytes.
        target: The machine.
        corner_v: The supply at which the profile's energies hold.
        mean_mac_j: The profile's energy averaged over its weight values, for the sparse engine.
    """
    work, move = works[piece.layer], moves[piece.layer]
    v, base_v = lane.point.voltage_v, target.base.voltage_v
    accumulator = target.accumulator
    return {
        "mac": work.gemm.m * piece.tile_j * (v / corner_v) ** 2,
        "spmv": piece.share * work.nnz * work.gemm.m * mean_mac_j * (target.spmv.point.voltage_v / corner_v) ** 2,
        "sram": 8
        * piece.share
        * (move.sram_read * target.sram.read_j_per_bit + move.sram_write * target.sram.write_j_per_bit),
        "accumulator": 8
        * piece.share
        * (move.accumulator_read * accumulator.read_j_per_bit + move.accumulator_write * accumulator.write_j_per_bit)
        * (v / base_v) ** 2,
        "dram": 8 * piece.share * move.dram * target.dram.energy_j_per_bit,
    }


def leakage_w(step: Step, target: Target) -> float:
    """Return the power that flows through a step whatever runs: arrays at their supply, the rest of the chip.

    Arrays that no lane uses stay at the base supply.
    """
    base = target.base.voltage_v
    used = sum(lane.arrays for lane in step.lanes)
    scaled = sum(lane.arrays * lane.point.voltage_v / base for lane in step.lanes)
    return target.static.array_w * (scaled + target.array.count - used) + target.static.rest_w
