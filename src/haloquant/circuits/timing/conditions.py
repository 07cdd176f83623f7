"""The boundary conditions under which a MAC is timed and simulated."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Conditions:
    """Input slew, clock slew and output load, the same for every weight value, and the rule for merging slews.

    The slew of a net is the largest slew of the edges that arrive at it. With `slews` "possible" these are the edges
    that can happen while the weight is constant. With "enabled", as in OpenSTA, all edges of an arc count if one of
    them can happen; so an exclusive-or with one constant input also gets the slew of the edge that it cannot make.
    """

    input_slew_s: float = 0.0  # slew of the activation and partial-sum inputs
    clock_slew_s: float = 0.0
    output_load_f: float = 0.0  # at each result bit
    slews: Literal["possible", "enabled"] = "possible"
