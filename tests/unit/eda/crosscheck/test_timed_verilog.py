"""The annotated netlist as Verilog."""

import numpy as np
import pytest

from haloquant.circuits.simulation.value_table import annotate_netlist
from haloquant.circuits.simulation.waveforms import Filter
from haloquant.eda.crosscheck.timed_verilog import timed_verilog
from haloquant.errors import NetlistError
from support.circuits import multiplier, small_library


def test_registers_are_not_written_as_verilog():
    gates = annotate_netlist(
        multiplier(2, partial=True, pipelined=True), small_library(), np.array([1], np.int16), None
    )
    with pytest.raises(NetlistError, match=r"a netlist to be written must have no registers, but has 4"):
        timed_verilog(gates, 0, Filter.SAMPLED)
