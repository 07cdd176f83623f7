"""Where a layer sits between bandwidth and arithmetic: the classic roofline, with one roof per operating point."""

from collections.abc import Sequence
from dataclasses import dataclass

from haloquant.accel.results import Simulation
from haloquant.accel.target import Target
from haloquant.records import OperatingPoint


@dataclass(frozen=True, slots=True)
class Roof:
    """The most that a machine does at one point: `macs_per_s` flat, and bandwidth times intensity below `ridge`."""

    point: OperatingPoint
    macs_per_s: float
    bandwidth_b_per_s: float

    @property
    def ridge_macs_per_b(self) -> float:
        """Intensity above which arithmetic is the limit; 0 where bandwidth is infinite."""
        return self.macs_per_s / self.bandwidth_b_per_s

    def attainable_macs_per_s(self, macs_per_b: float) -> float:
        """The most at some intensity."""
        return min(self.macs_per_s, self.bandwidth_b_per_s * macs_per_b)


@dataclass(frozen=True, slots=True)
class Dot:
    """One layer (or a whole pass): multiply-accumulates per byte from outside, and what was reached."""

    name: str
    macs_per_b: float  # inf where nothing comes from outside
    macs_per_s: float
    bound: str


def roofs(target: Target, points: Sequence[OperatingPoint] | None = None) -> list[Roof]:
    """Return one roof per operating point, of the machine's own where none are given."""
    units = target.array.rows * target.array.columns * target.array.count
    return [
        Roof(point, units * point.frequency_hz, target.dram.stream_b_per_s)
        for point in (target.points if points is None else points)
    ]


def dots(simulation: Simulation) -> list[Dot]:
    """Return every layer of a run that took time, and the whole pass last."""
    made = [
        Dot(
            layer.layer,
            layer.macs / layer.dram_bytes if layer.dram_bytes else float("inf"),
            layer.macs / layer.cost.total_time_s,
            layer.bound,
        )
        for layer in simulation.layers
        if layer.cost.total_time_s > 0
    ]
    parts = {name: simulation.total.time_s.get(name, 0.0) for name in ("compute", "dram", "sram", "spmv")}
    whole = Dot(
        "whole pass",
        simulation.macs / simulation.dram_bytes if simulation.dram_bytes else float("inf"),
        simulation.macs / simulation.time_s,
        max(parts, key=lambda name: parts[name]),
    )
    return [*made, whole]
