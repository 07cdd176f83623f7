"""The MAC: its operating points, what each weight value costs, and the codebooks chosen from its values."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float64, Int16


@dataclass(frozen=True, slots=True)
class Corner:
    """One process, voltage and temperature at which a cell library was characterised."""

    name: str
    voltage_v: float
    temperature_c: float
    process: str = "tt"


@dataclass(frozen=True, slots=True)
class OperatingPoint:
    """A supply voltage and a clock."""

    voltage_v: float
    frequency_hz: float

    @property
    def period_s(self) -> float:
        """One clock period."""
        return 1.0 / self.frequency_hz


@dataclass(frozen=True)
class MacProfile:
    """What the value of the stationary weight does to one multiply-accumulate unit.

    `delay_s` is static: the longest path that constant propagation of the weight leaves. `sensitised_delay_s` is the
    longest path that an activation transition really toggles (never above `delay_s`), NaN where it was not simulated.
    `energy_j` is switching plus internal energy of one operation, mean over activation transitions, leakage excluded.
    """

    name: str
    description: str
    weights: Int16[np.ndarray, " w"]  # ascending
    corners: tuple[Corner, ...]
    delay_s: Float64[np.ndarray, "corner w"]
    sensitised_delay_s: Float64[np.ndarray, "corner w"]
    energy_j: Float64[np.ndarray, "corner w"]
    leakage_w: Float64[np.ndarray, " corner"]
    area_m2: float
    activation_bits: int = 8
    provenance: Mapping[str, str] = field(default_factory=dict[str, str])


@dataclass(frozen=True)
class Codebook:
    """The weight values a tile may use, and the operating point at which all of them meet timing."""

    name: str  # the class: "fast", "slow", "base" ...
    values: Int16[np.ndarray, " codes"]  # ascending, 0 included
    point: OperatingPoint
    slack_s: float  # period - slowest value's delay - margin, >= 0 by construction
