"""The MAC unit: its operating points, the delay and energy of each weight value, and codebooks of weight values."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float64, Int16


@dataclass(frozen=True, slots=True)
class Corner:
    """One process, voltage and temperature at which a cell library was characterized.

    Attributes:
        name: name of the corner.
        voltage_v: supply voltage.
        temperature_c: temperature in degrees Celsius.
        process: "tt" (typical), "ss" (slow) or "ff" (fast) transistors.
    """

    name: str
    voltage_v: float
    temperature_c: float
    process: str = "tt"


@dataclass(frozen=True, slots=True)
class OperatingPoint:
    """A supply voltage and a clock frequency."""

    voltage_v: float
    frequency_hz: float

    @property
    def period_s(self) -> float:
        """Length of one clock period."""
        return 1.0 / self.frequency_hz


@dataclass(frozen=True)
class MacProfile:
    """How the value of the stationary weight changes delay and energy of one multiply-accumulate (MAC) unit.

    Attributes:
        name: name of the profile.
        description: one sentence about the MAC.
        weights: all weight values, ascending; axis `w` of the arrays below. Bit patterns, as signed integers, where
            `weight_format` is a float.
        corners: process, voltage and temperature of axis `corner`.
        delay_s: static delay: that of the longest path that remains if the weight is propagated as a constant.
        sensitised_delay_s: delay of the longest path that an activation transition toggles; at most `delay_s`. NaN
            means that it was not simulated.
        energy_j: switching plus internal energy of one operation without leakage, mean over activation transitions.
        leakage_w: leakage power of the unit.
        area_m2: cell area of the unit.
        activation_bits: width of the activation.
        provenance: how the profile was made, by topic.
    """

    name: str
    description: str
    weights: Int16[np.ndarray, " w"]
    corners: tuple[Corner, ...]
    delay_s: Float64[np.ndarray, "corner w"]
    sensitised_delay_s: Float64[np.ndarray, "corner w"]
    energy_j: Float64[np.ndarray, "corner w"]
    leakage_w: Float64[np.ndarray, " corner"]
    area_m2: float
    activation_bits: int = 8
    provenance: Mapping[str, str] = field(default_factory=dict[str, str])

    @property
    def weight_format(self) -> str:
        """What the weight values are: `integer`, or the 8-bit float (`e4m3`, `e5m2`) whose bit patterns they are."""
        return self.provenance.get("weight_format", "integer")

    @property
    def library(self) -> str:
        """The cell library of the first corner; empty where it is not known. The provenance lists one per corner."""
        return self.provenance.get("library", "").partition(", ")[0]


@dataclass(frozen=True)
class Codebook:
    """The weight values (words) that tiles of one class may use, and the operating point at which they all meet timing.

    Attributes:
        name: name of the class: "fast", "slow", "base" ...
        values: the words, ascending; they include 0. A code is an index into them.
        point: operating point of the class.
        slack_s: clock period - delay of the slowest word - margin; at least 0.
    """

    name: str
    values: Int16[np.ndarray, " codes"]
    point: OperatingPoint
    slack_s: float
