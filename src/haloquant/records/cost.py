"""Time and energy of a simulated forward pass."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Cost:
    """Time and energy of a pass, by their parts. Costs can be added.

    Attributes:
        time_s: time by the part that limited it: "compute" (the MAC array), "dram", "sram", "spmv" (the sparse engine),
            "fill" (filling the array) and "transition" (changes of voltage and frequency). Parts do not overlap.
        energy_j: energy by part: "mac", "spmv", "sram", "accumulator", "dram", "leakage" and "dvfs".
        cycles: clock cycles of the array.
        transitions: number of changes of the operating point.
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
