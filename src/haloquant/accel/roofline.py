"""Roofline model: one roof per operating point, and one point per layer (Williams et al., CACM 52(4), 2009)."""

from collections.abc import Sequence
from dataclasses import dataclass

from haloquant.accel.results import BOUNDS, Simulation
from haloquant.accel.target import Target
from haloquant.records import OperatingPoint


@dataclass(frozen=True, slots=True)
class Roof:
    """The highest rate of a machine at one point: the lower of `macs_per_s` and bandwidth times intensity."""

    point: OperatingPoint
    macs_per_s: float
    bandwidth_b_per_s: float

    @property
    def ridge_macs_per_b(self) -> float:
        """Intensity in multiply-accumulates per byte above which arithmetic is the limit; 0 for infinite bandwidth."""
        return self.macs_per_s / self.bandwidth_b_per_s

    def attainable_macs_per_s(self, macs_per_b: float) -> float:
        """The highest rate at an intensity of `macs_per_b`."""
        return min(self.macs_per_s, self.bandwidth_b_per_s * macs_per_b)


@dataclass(frozen=True, slots=True)
class RooflinePoint:
    """One layer, or the whole pass: multiply-accumulates per byte of DRAM traffic, and the rate that was reached."""

    name: str
    macs_per_b: float  # inf without DRAM traffic
    macs_per_s: float
    bound: str


def roofs(target: Target, points: Sequence[OperatingPoint] | None = None) -> list[Roof]:
    """Return one roof per operating point; the default is the machine's own points."""
    units = target.array.rows * target.array.columns * target.array.count
    return [
        Roof(point, units * point.frequency_hz, target.dram.stream_b_per_s)
        for point in (target.points if points is None else points)
    ]


def roofline_points(simulation: Simulation) -> list[RooflinePoint]:
    """Return a point for every layer that took time, and one for the whole pass at the end."""
    made = [
        RooflinePoint(
            layer.layer,
            layer.macs / layer.dram_bytes if layer.dram_bytes else float("inf"),
            layer.macs / layer.cost.total_time_s,
            layer.bound,
        )
        for layer in simulation.layers
        if layer.cost.total_time_s > 0
    ]
    parts = {name: simulation.total.time_s.get(name, 0.0) for name in BOUNDS}
    whole = RooflinePoint(
        "whole pass",
        simulation.macs / simulation.dram_bytes if simulation.dram_bytes else float("inf"),
        simulation.macs / simulation.time_s,
        max(parts, key=lambda name: parts[name]),
    )
    return [*made, whole]
