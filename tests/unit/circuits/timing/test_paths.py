"""The longest path of every weight of random netlists: its gates connect, and its delays add up to the static delay."""

import pytest

from haloquant.circuits.ports import weight_values
from haloquant.circuits.timing.conditions import Conditions
from haloquant.circuits.timing.paths import worst_path
from haloquant.circuits.timing.static_timing import static_delays
from haloquant.errors import NetlistError
from support.near import near
from support.timing_netlists import LIBRARY, PORTS, TINY, random_mac, read


@pytest.mark.parametrize("seed", range(3))
def test_the_delays_of_a_path_add_up_to_the_static_delay(seed: int) -> None:
    netlist = random_mac(seed)
    conditions = Conditions(input_slew_s=7e-11, output_load_f=5e-15)
    delays = static_delays(netlist, LIBRARY, None, conditions)
    steps_seen = 0
    for weight, delay in zip(weight_values(netlist.ports).tolist(), delays.tolist(), strict=True):
        if delay == 0.0:
            continue
        path = worst_path(netlist, LIBRARY, weight, conditions)
        assert path.delay_s == near(delay)
        assert sum(step.delay.lookup.value for step in path.steps) == near(path.delay_s)
        edge, net, arrival = path.start_edge, path.start, 0.0
        for step in path.steps:
            gate = netlist.gates.names.index(step.gate)
            pins = netlist.gates.input_net[netlist.gates.input_start[gate] : netlist.gates.input_start[gate + 1]]
            assert (step.from_edge, net in [netlist.net_names[n] for n in pins]) == (edge, True)
            assert step.arrival_s == near(arrival + step.delay.lookup.value)
            edge, net, arrival = step.to_edge, step.net, step.arrival_s
            steps_seen += 1
        assert path.setup is None and path.start.startswith(("activation", "partial"))
    assert steps_seen > 10


def test_a_plain_wire_is_a_path_without_gates() -> None:
    path = worst_path(read({}, TINY, {**PORTS, "result": ("output", [3])}), LIBRARY, 0)
    assert (path.steps, path.delay_s, path.start) == ((), 0.0, "activation")


def test_a_weight_that_the_port_cannot_hold() -> None:
    with pytest.raises(NetlistError, match=r"^a weight must be -1 to 0 in this MAC, not 3$"):
        worst_path(read({"u": ("INV", {"A": 3, "Y": 4})}), LIBRARY, 3)
