"""Delay of one weight value at a time, the reference for `static_timing.static_delays`."""

from haloquant.circuits.liberty.records import Library
from haloquant.circuits.netlist.parser import Netlist
from haloquant.circuits.timing.conditions import Conditions
from haloquant.circuits.timing.single_value import path_ends, time_single_value


def reference_delay(netlist: Netlist, library: Library, weight: int, conditions: Conditions | None = None) -> float:
    """Return the delay (s) of the longest path for one weight value; 0 if no end can change."""
    conditions = conditions or Conditions()
    ends = path_ends(netlist, library, time_single_value(netlist, library, weight, conditions), conditions)
    return max((end.delay_s for end in ends), default=0.0)
