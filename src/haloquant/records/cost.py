"""Time and energy of a simulated pass."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Cost:
    """Time and energy of a run. Adds, and keeps its parts; a bare total is never stored.

    `time_s` parts: compute (array busy and critical), dram, sram, spmv (the bound that held), fill, transition.
    `energy_j` parts: mac, spmv, sram, accumulator, dram, leakage, dvfs.
    """

    time_s: Mapping[str, float]
    energy_j: Mapping[str, float]
    cycles: int
    transitions: int

    @property
    def total_time_s(self) -> float:
        """Sum of all parts of time."""
        return sum(self.time_s.values())

    @property
    def total_energy_j(self) -> float:
        """Sum of all parts of energy."""
        return sum(self.energy_j.values())

    def __add__(self, other: "Cost") -> "Cost":
        return Cost(
            _add(self.time_s, other.time_s),
            _add(self.energy_j, other.energy_j),
            self.cycles + other.cycles,
            self.transitions + other.transitions,
        )


def _add(a: Mapping[str, float], b: Mapping[str, float]) -> dict[str, float]:
    return {key: a.get(key, 0.0) + b.get(key, 0.0) for key in [*a, *(k for k in b if k not in a)]}
