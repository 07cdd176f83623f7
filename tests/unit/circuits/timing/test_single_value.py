"""The timing of one value against the timing of all values."""

import numpy as np
import pytest

from haloquant.circuits.ports import weight_values
from haloquant.circuits.timing.conditions import Conditions
from haloquant.circuits.timing.reference.delays import reference_delay
from haloquant.circuits.timing.single_value import time_single_value
from haloquant.circuits.timing.static_timing import analyze_timing, static_delays
from support.near import near
from support.timing_netlists import LIBRARY, random_mac


@pytest.mark.parametrize("slews", ["possible", "enabled"])
@pytest.mark.parametrize("seed", range(4))
def test_all_values_at_once_are_each_value_alone(seed: int, slews: str):
    netlist = random_mac(seed)
    conditions = Conditions(input_slew_s=7e-11, output_load_f=5e-15, slews=slews)  # pyright: ignore[reportArgumentType]
    fast = static_delays(netlist, LIBRARY, None, conditions)
    slow = [reference_delay(netlist, LIBRARY, int(w), conditions) for w in weight_values(netlist.ports)]
    np.testing.assert_allclose(fast, slow, rtol=1e-12, atol=0)


@pytest.mark.parametrize("seed", range(2))
def test_every_arrival_slew_and_constant_is_the_slow_twins(seed: int):
    netlist = random_mac(seed)
    timing = analyze_timing(netlist, LIBRARY)
    for i, weight in enumerate(timing.weights.tolist()):
        one = time_single_value(netlist, LIBRARY, weight, Conditions())
        assert one.state == timing.state[:, i].tolist()
        for (net, edge), step in one.steps.items():
            assert timing.arrival_s[net, edge, i] == near(step.arrival_s, rel=1e-12)
            assert timing.slew_s[net, edge, i] == near(one.slew_s[net, edge], rel=1e-12, abs=1e-24)
        assert np.isfinite(timing.arrival_s[:, :, i]).sum() == len(one.steps)
