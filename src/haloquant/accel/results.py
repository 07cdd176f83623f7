"""Result of a simulation: totals, layers and segments of the timeline. Every total is the sum of its parts."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from haloquant.records import Cost, OperatingPoint

BOUNDS: tuple[str, ...] = ("compute", "dram", "sram", "spmv")
TIME_PARTS: tuple[str, ...] = (*BOUNDS, "fill", "transition")


@dataclass(frozen=True)
class LayerCost:
    """One layer's share of a pass. `bound` is the resource that limited most of its time."""

    layer: str
    cost: Cost
    bound: str
    macs: int
    dram_bytes: float
    tiles: int
    blocks: int  # blocks of activation rows that its group was cut into


@dataclass(frozen=True, slots=True)
class Segment:
    """A period at one operating point. It holds the time that each resource needs alone, and the longest, `busy_s`.

    The transition (`transition_s`) comes before it. If the group is cut into several blocks of rows, one segment
    represents all `blocks`, and `transitions` counts the transitions into it over all of them. Islands of one group are
    segments with equal start and end.
    """

    group: int
    point: OperatingPoint
    first_array: int
    arrays: int
    start_s: float
    transition_s: float
    fill_s: float
    compute_s: float
    dram_s: float
    sram_s: float
    spmv_s: float
    busy_s: float
    cycles: int
    tiles: int
    blocks: int
    transitions: int
    layers: tuple[int, ...]
    bound: str

    @property
    def end_s(self) -> float:
        """End of the segment in s."""
        return self.start_s + self.transition_s + self.fill_s + self.busy_s


@dataclass(frozen=True)
class Simulation:
    """One forward pass on one machine."""

    system: str  # the quantization method
    workload: str
    phase: str
    target: str
    policy: str
    total: Cost
    layers: tuple[LayerCost, ...]
    segments: Sequence[Segment]  # expanded on first use; there may be as many as columns of tiles
    layer_names: tuple[str, ...]
    tokens: int
    macs: int
    peak_macs_per_s: float  # peak rate of all arrays at the fastest clock used
    dram_bytes: float
    notes: tuple[str, ...] = field(default=())

    @property
    def time_s(self) -> float:
        """Time of the pass in s."""
        return self.total.total_time_s

    @property
    def energy_per_token_j(self) -> float:
        """Energy in J per new token."""
        return self.total.total_energy_j / self.tokens

    @property
    def utilisation(self) -> float:
        """Multiply-accumulates done over those that the arrays can do in this time at the fastest clock used."""
        return self.macs / (self.peak_macs_per_s * self.time_s)
