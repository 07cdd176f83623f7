"""The machine as a record: what `store.read_target` makes of a `targets/*.toml`. SI units throughout."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from haloquant.accel.billing.cycles import WeightLoad
from haloquant.records import OperatingPoint

Status = Literal["measured", "cited", "assumed"]


@dataclass(frozen=True, slots=True)
class Figure:
    """One number of a target file with where it comes from. `value` is in SI, `unit` is the SI unit."""

    value: float
    unit: str
    source: str
    status: Status


@dataclass(frozen=True, slots=True)
class Array:
    """The systolic arrays: `count` of them, each `rows` x `columns` multiply-accumulate units.

    Where clocks are not claimed, the base clock is what the profile's slowest weight value meets on this machine, and a
    class runs as much faster as its own slowest value is.
    """

    rows: int
    columns: int
    count: int
    weight_load: WeightLoad
    float_rate: float  # multiply-accumulates in 16-bit floating point per cycle and unit, 8-bit integers being 1
    float_energy: float  # energy of one of them over the profile's mean 8-bit operation
    claimed_clocks: bool  # the points are somebody's claim, not bound to what a profile meets
    profile_voltage_v: float = 0.0  # the supply at which the profile's energies hold; 0: the base point's


@dataclass(frozen=True, slots=True)
class Transition:
    """What a change of the arrays' supply and clock costs beside the drain."""

    latency_s: float
    energy_j: float
    regulator_efficiency: float  # of the on-chip regulator that makes switching possible


@dataclass(frozen=True, slots=True)
class OnChip:
    """A memory on the chip. `bandwidth_b_per_s` counts bytes read and written together; inf where it never limits."""

    size_b: float
    bandwidth_b_per_s: float
    read_j_per_bit: float
    write_j_per_bit: float


@dataclass(frozen=True, slots=True)
class Dram:
    """The memory outside. An infinite bandwidth means the model has no memory system."""

    bandwidth_b_per_s: float  # peak
    efficiency: float  # of peak that a stream reaches
    energy_j_per_bit: float
    latency_s: float  # first access

    @property
    def stream_b_per_s(self) -> float:
        """Bandwidth that a long stream reaches."""
        return self.bandwidth_b_per_s * self.efficiency


@dataclass(frozen=True, slots=True)
class Spmv:
    """The engine beside the arrays that multiplies the sparse part: `lanes` products a cycle at its own point."""

    lanes: int
    point: OperatingPoint


@dataclass(frozen=True, slots=True)
class Static:
    """Power that flows whether or not anything runs. The arrays' part is proportional to their supply."""

    array_w: float  # per array at the base point
    rest_w: float


@dataclass(frozen=True)
class Target:
    """A systolic accelerator. `points` are its operating points from the slowest; the first is the base.

    `figures` holds source and status of every number by its path in the file.
    """

    name: str
    description: str
    array: Array
    points: tuple[OperatingPoint, ...]
    transition: Transition
    accumulator: OnChip  # of one array
    sram: OnChip
    dram: Dram
    spmv: Spmv
    static: Static
    figures: Mapping[str, Figure] = field(default_factory=dict[str, Figure])

    @property
    def accumulator_b(self) -> float:
        """Bytes of partial sums that all arrays together can hold."""
        return self.accumulator.size_b * self.array.count

    @property
    def energy_voltage_v(self) -> float:
        """The supply at which the profile's energies hold."""
        return self.array.profile_voltage_v or self.base.voltage_v

    @property
    def base(self) -> OperatingPoint:
        """The point at which every weight value meets timing."""
        return self.points[0]


def at_points(target: Target, points: tuple[OperatingPoint, ...], corner_v: float) -> Target:
    """Return the target clocked and supplied as a profile's own corner and delays allow, instead of by its file.

    The points' volts are then the profile's, and its energies hold at `corner_v`. The sparse engine runs at the base,
    the slowest of the points.
    """
    ordered = tuple(sorted(points, key=lambda point: point.frequency_hz))
    array = replace(target.array, claimed_clocks=False, profile_voltage_v=corner_v)
    return replace(target, points=ordered, array=array, spmv=replace(target.spmv, point=ordered[0]))


@dataclass(frozen=True, slots=True)
class ClockBlock:
    """A block of a chip that shares the clock of the multipliers, and whether weight values shorten its paths."""

    name: str
    follows: bool
    why: str


@dataclass(frozen=True)
class GpuTarget:
    """A graphics processor as a roofline. Rates are multiply-accumulates per second at `points[0]`."""

    name: str
    description: str
    float16_mac_per_s: float
    int8_mac_per_s: float
    int4_mac_per_s: float
    compute_efficiency: float
    dram: Dram
    points: tuple[OperatingPoint, ...]
    transition: Transition
    idle_w: float
    limit_w: float
    blocks: tuple[ClockBlock, ...]
    figures: Mapping[str, Figure] = field(default_factory=dict[str, Figure])
