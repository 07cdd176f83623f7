"""Time and energy of a pass on a GPU by the roofline model, and the blocks that must follow a faster clock.

The clock of a multiprocessor drives register files, schedulers and memories as well as multipliers, but weight values
shorten only the multipliers' paths. So operating points above the board's own are hypothetical. A driver takes
milliseconds to change the clock, so it cannot be switched per tile. On a real board HALO's weights change only the
number of bits that are read and, slightly, the power.
"""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal

from haloquant.accel.target import ClockBlock, GpuTarget
from haloquant.accel.workload.prefill_decode import Workload
from haloquant.errors import InputError
from haloquant.records import Gemm, OperatingPoint

Arithmetic = Literal["float16", "int8", "int4"]


@dataclass(frozen=True, slots=True)
class GpuFormat:
    """How a model is stored and multiplied. `arithmetic` names the tensor-core rate that is used."""

    name: str
    weight_bits: float
    activation_bits: int
    kv_bits: int
    arithmetic: Arithmetic


FLOAT16 = GpuFormat("FP16", 16.0, 16, 16, "float16")
W8A8 = GpuFormat("W8A8", 8.0, 8, 8, "int8")
W4A8 = GpuFormat("W4A8", 4.125, 8, 8, "int8")
W4A16 = GpuFormat("W4A16", 4.125, 16, 16, "float16")


@dataclass(frozen=True)
class GpuCost:
    """Time and energy of one pass.

    `compute_s` and `dram_s` are the times that arithmetic and memory would take alone. `time_s` sums, over the matrix
    products, the longer of the two.
    """

    workload: str
    phase: str
    target: str
    format: str
    point: OperatingPoint
    time_s: float
    compute_s: float
    dram_s: float
    bound: str
    static_j: float
    dynamic_j: float
    dram_j: float
    tokens: int

    @property
    def energy_j(self) -> float:
        """Total energy in J."""
        return self.static_j + self.dynamic_j + self.dram_j

    @property
    def energy_per_token_j(self) -> float:
        """Energy in J per new token."""
        return self.energy_j / self.tokens


def gpu_pass(
    workload: Workload,
    target: GpuTarget,
    format: GpuFormat,
    point: OperatingPoint | None = None,
    floating: Collection[str] = (),
) -> GpuCost:
    """Return the time and energy of a pass: for each product the longer of arithmetic and memory traffic.

    Arithmetic rates scale with the clock, starting from the target's first point; the bandwidth does not. The energy
    per operation is chosen so that the board draws its power limit when its tensor cores run at the peak rate of the
    first point. This holds for every number format. So an operation at half the rate costs twice the energy. The energy
    scales with the square of the supply. Attention is multiplied in floating point in every format, as GPU kernels do.

    Args:
        workload: The pass.
        target: The board.
        format: How the model is stored and multiplied.
        point: Clock and supply, the board's first by default.
        floating: Layers that are left in 16-bit floating point.

    Raises:
        InputError: The bits are not positive.
    """
    if not format.weight_bits > 0 or format.activation_bits < 1 or format.kv_bits < 1:
        raise InputError(f"bits of format {format.name} must be above 0")
    at, own = point or target.points[0], target.points[0]
    speed = target.compute_efficiency * at.frequency_hz / own.frequency_hz
    switching_w = (target.limit_w - target.idle_w) * (at.voltage_v / own.voltage_v) ** 2
    rates = {"float16": target.float16_mac_per_s, "int8": target.int8_mac_per_s, "int4": target.int4_mac_per_s}
    time = compute = dram = dynamic = moved = 0.0
    for gemm in workload.gemms:
        stored = FLOAT16 if gemm.weight_stationary and gemm.layer in floating else format
        rate = rates[stored.arithmetic if gemm.weight_stationary else "float16"]
        macs = gemm.m * gemm.k * gemm.n * gemm.count
        size = _bytes(gemm, stored)
        arithmetic = macs / (rate * speed)
        traffic = size / target.dram.stream_b_per_s
        time += max(arithmetic, traffic)
        compute += arithmetic
        dram += traffic
        dynamic += macs / rate * switching_w
        moved += size
    return GpuCost(
        workload.name,
        workload.phase,
        target.name,
        format.name,
        at,
        time,
        compute,
        dram,
        "compute" if compute > dram else "dram",
        target.idle_w * time,
        dynamic,
        8 * moved * target.dram.energy_j_per_bit,
        workload.tokens,
    )


def _bytes(gemm: Gemm, format: GpuFormat) -> float:
    """Bytes of the operands read once and the results written once."""
    bits = format.weight_bits if gemm.weight_stationary else float(format.kv_bits)
    operand = gemm.k * gemm.n * gemm.count * bits / 8
    return operand + gemm.m * (gemm.k + gemm.n) * gemm.count * format.activation_bits / 8


@dataclass(frozen=True)
class WhatIf:
    """A pass at one operating point of a board, as if the whole chip ran at its clock."""

    cost: GpuCost
    speedup: float  # over the first point
    energy_ratio: float  # over the first point
    # Blocks that must reach this clock although weight values do not shorten their paths.
    must_follow: tuple[ClockBlock, ...]
    switching_s: float  # transition time of one pass if the clock were switched per dependency group


def what_if(workload: Workload, target: GpuTarget, format: GpuFormat, floating: Collection[str] = ()) -> list[WhatIf]:
    """Return the pass at each of the target's points, as if the whole chip ran at that clock."""
    base = gpu_pass(workload, target, format, None, floating)
    groups = len({gemm.group for gemm in workload.gemms if gemm.weight_stationary})
    blocks = tuple(block for block in target.blocks if not block.follows)
    found: list[WhatIf] = []
    for point in target.points:
        cost = gpu_pass(workload, target, format, point, floating)
        above = point.frequency_hz > target.points[0].frequency_hz
        found.append(
            WhatIf(
                cost,
                base.time_s / cost.time_s,
                cost.energy_j / base.energy_j,
                blocks if above else (),
                groups * target.transition.latency_s if above else 0.0,
            )
        )
    return found
