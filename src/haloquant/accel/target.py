"""Description of a machine. `store.targets` reads it from a `targets/*.toml` file. All numbers are in SI units."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from haloquant.accel.cost_model.cycles import WeightLoad
from haloquant.records import OperatingPoint

Status = Literal["measured", "cited", "assumed"]
SparseRows = Literal["none", "gather"]


@dataclass(frozen=True, slots=True)
class Figure:
    """One number of a target file with its source. `value` is in SI, `unit` is the SI unit."""

    value: float
    unit: str
    source: str
    status: Status


@dataclass(frozen=True, slots=True)
class Array:
    """The systolic arrays: `count` of them, each `rows` x `columns` multiply-accumulate units.

    If `claimed_clocks` is False, the profile's slowest weight value takes one period of the base clock. If the slowest
    value of a class is r times as fast, the class runs at r times the base clock.
    """

    rows: int
    columns: int
    count: int
    weight_load: WeightLoad
    float_rate: float  # 16-bit floating-point multiply-accumulates per cycle and unit; 1 for 8-bit integers
    float_energy: float  # energy of a 16-bit operation over the profile's mean energy of an 8-bit one
    claimed_clocks: bool  # the points are claims and are not checked against a profile
    sparse_rows: SparseRows = "none"  # what an input of zero saves: switching energy, or its row of weights ("gather")
    profile_voltage_v: float = 0.0  # supply at which the profile's energies hold; 0 means the supply of the base point


@dataclass(frozen=True, slots=True)
class Transition:
    """Cost of a change of the arrays' supply and clock, without the drain."""

    latency_s: float
    energy_j: float
    regulator_efficiency: float  # of the on-chip voltage regulator, which transitions need


@dataclass(frozen=True, slots=True)
class OnChip:
    """An on-chip memory. `bandwidth_b_per_s` counts bytes read and written together; inf means no limit."""

    size_b: float
    bandwidth_b_per_s: float
    read_j_per_bit: float
    write_j_per_bit: float


@dataclass(frozen=True, slots=True)
class Dram:
    """The off-chip memory. An infinite bandwidth means that the machine is modelled without a memory system."""

    bandwidth_b_per_s: float  # peak
    efficiency: float  # share of the peak that a long stream reaches
    energy_j_per_bit: float
    latency_s: float  # first access

    @property
    def stream_b_per_s(self) -> float:
        """Bandwidth of a long stream in bytes per second."""
        return self.bandwidth_b_per_s * self.efficiency


@dataclass(frozen=True, slots=True)
class Spmv:
    """The engine that multiplies the sparse part: `lanes` products per cycle at an operating point of its own."""

    lanes: int
    point: OperatingPoint


@dataclass(frozen=True, slots=True)
class Static:
    """Static power. The arrays' part is proportional to their supply."""

    array_w: float  # per array at the base point
    rest_w: float


@dataclass(frozen=True)
class Target:
    """A systolic accelerator. `points` are its operating points, slowest first; the first is the base point.

    `figures` holds the source and status of every number, by its path in the file.
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
        """Bytes of partial sums that all arrays together hold."""
        return self.accumulator.size_b * self.array.count

    @property
    def energy_voltage_v(self) -> float:
        """The supply at which the profile's energies hold."""
        return self.array.profile_voltage_v or self.base.voltage_v

    @property
    def base(self) -> OperatingPoint:
        """The point at which every weight value meets timing."""
        return self.points[0]


@dataclass(frozen=True, slots=True)
class ClockBlock:
    """A block of a chip that shares the multipliers' clock. `follows`: weight values shorten its paths too."""

    name: str
    follows: bool
    why: str


@dataclass(frozen=True)
class GpuTarget:
    """A GPU in the roofline model. Rates are multiply-accumulates per second at `points[0]`."""

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
