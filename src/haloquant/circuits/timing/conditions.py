"""The boundary conditions of a timed MAC."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Conditions:
    """What stands outside the MAC, the same for every weight, and which slews count.

    A net's slew is the largest of the edges that arrive on it. `slews` says of which: "possible" takes the edges that
    can happen with the weight held constant; "enabled" takes all edges of an arc if any of them can, as OpenSTA does
    (an exclusive-or with one input constant then still gets the slew of the edge it cannot make).
    """

    input_slew_s: float = 0.0  # of activation and partial sum
    clock_slew_s: float = 0.0
    output_load_f: float = 0.0  # at every result pin
    slews: Literal["possible", "enabled"] = "possible"
