"""Static timing: the compiled pass against its slow twin, constants, conditional arcs, registers."""

import numpy as np
import pytest

from haloquant.circuits.liberty.parser import parse_liberty
from haloquant.circuits.netlist.parser import parse_netlist
from haloquant.circuits.ports import MacPorts, weight_values
from haloquant.circuits.timing.case_analysis import FREE
from haloquant.circuits.timing.conditions import Conditions
from haloquant.circuits.timing.paths import worst_path
from haloquant.circuits.timing.reference.delays import reference_delay
from haloquant.circuits.timing.static_timing import analyze_timing, static_delays
from haloquant.errors import NetlistError
from support.gate_cases import (
    CELLS,
    Gate,
    arc,
    array_multiplier,
    input_pin,
    library_text,
    netlist_json,
    output_pin,
)
from support.near import near
from support.timing_netlists import LIBRARY, PORTS, TINY, random_mac, read


def test_constants_are_what_every_activation_gives():
    netlist = random_mac(11)
    timing = analyze_timing(netlist, LIBRARY)
    rng = np.random.default_rng(0)
    for i in range(len(timing.weights)):
        known = timing.state[:, i]
        for _ in range(20):
            values = np.where(known == FREE, rng.integers(0, 2, len(known)), known)
            for g in range(len(netlist.gates)):
                kind = netlist.kinds[netlist.gates.kind[g]]
                inputs = netlist.gates.input_net[netlist.gates.input_start[g] : netlist.gates.input_start[g + 1]]
                pins = dict(zip(kind.inputs, values[inputs].tolist(), strict=True))
                outputs = netlist.gates.output_net[netlist.gates.output_start[g] : netlist.gates.output_start[g + 1]]
                for pin, net in zip(kind.outputs, outputs, strict=True):
                    function = LIBRARY.cells[kind.name].pin(pin).function
                    assert function is not None
                    values[net] = function.evaluate(pins)
                    assert known[net] in (FREE, values[net])


def test_a_sum_that_is_timed_from_the_carry_waits_for_it():
    """ASAP7's adders: an arc from the output CON to the output SN, here unloaded CON = A nand B, SN = A xnor B."""
    netlist = read({"u": ("SUM", {"A": 3, "B": 2, "SN": 4})})
    timing = analyze_timing(netlist, LIBRARY)
    con = int(netlist.gates.output_net[1])
    assert netlist.net_names[con] == "u/CON"
    # With B = 0 CON is constant and SN follows from A alone; with B = 1 it also follows from CON
    assert timing.state[con].tolist() == [FREE, 1]
    # Slew 0 and load 0 lie half a cell outside, u = v = -1/2: 3 (2.25 * 0.10 - 0.75 * (0.14 + 0.20) + 0.25 * 0.28)
    assert timing.delay_s[1] == near(0.12e-9)
    assert timing.delay_s[0] > 1.5 * timing.delay_s[1]
    assert reference_delay(netlist, LIBRARY, -1) == near(timing.delay_s[0])
    path = worst_path(netlist, LIBRARY, -1)
    assert [(step.from_pin, step.to_pin) for step in path.steps] == [("A", "CON"), ("CON", "SN")]


def test_a_weight_that_stops_everything_takes_no_time():
    netlist = read({"u": ("NAND2", {"A": 3, "B": 2, "Y": 4})})
    assert static_delays(netlist, LIBRARY).tolist()[1] == 0.0  # the weights are -1 (pin high) and 0
    assert static_delays(netlist, LIBRARY)[0] > 0


def test_an_activation_wired_to_the_result_takes_no_time():
    netlist = read({}, TINY, {**PORTS, "result": ("output", [3])})
    assert static_delays(netlist, LIBRARY).tolist() == [0.0, 0.0]


def test_a_weight_that_the_port_cannot_hold():
    netlist = read({"u": ("NAND2", {"A": 3, "B": 2, "Y": 4})})
    with pytest.raises(NetlistError, match=r"^a weight must be -1 to 0 in this MAC, not 5$"):
        static_delays(netlist, LIBRARY, np.array([5], dtype=np.int16))


def test_paths_end_at_a_register_with_its_setup_and_start_behind_it():
    gates: dict[str, Gate] = {
        "u1": ("NAND2", {"A": 3, "B": 2, "Y": 5}),
        "r": ("DFF", {"D": 5, "CK": 9, "Q": 8}),
        "u2": ("INV", {"A": 8, "Y": 4}),
    }
    ports = MacPorts(partial=None, weight_bits=1, activation_bits=1, result_bits=1, clock="clk", latency=1)
    netlist = read(gates, ports, {**PORTS, "clk": ("input", [9])})
    conditions = Conditions(input_slew_s=2e-10, clock_slew_s=1e-10)
    timing = analyze_timing(netlist, LIBRARY, None, conditions)
    q, d, y = int(netlist.registers.output_net[0]), int(netlist.registers.input_net[0]), int(netlist.result_net[0])
    # clock to Q: load of INV/A rising 0.02 pF (v = 0.5), clock slew 0.1 ns (u = 0): 2 * (0.10 + 0.20) / 2
    assert timing.arrival_s[q, 0, 0] == near(0.30e-9)
    assert np.isinf(timing.arrival_s[d, :, 1]).all()  # with weight 0 the NAND is constant, but Q may still move
    assert timing.delay_s[1] == near(timing.arrival_s[y, :, 1].max())
    # NAND2 A -> Y at D's 0.01 pF, slew 0.2 ns: rise 0.15 with slew 0.1; setup of that edge at clock 0.1, data 0.1
    assert timing.arrival_s[d, 0, 0] == near(0.15e-9)
    setup = 0.5 * 0.03e-9 + 0.5 * 0.05e-9
    fall = timing.arrival_s[d, 1, 0] + 0.5 * 0.06e-9 + 0.5 * 0.08e-9
    assert timing.delay_s[0] == near(max(0.15e-9 + setup, fall, timing.arrival_s[y, :, 0].max()))
    for i, weight in enumerate((-1, 0)):
        assert reference_delay(netlist, LIBRARY, weight, conditions) == near(timing.delay_s[i])


def test_the_slew_of_an_edge_that_cannot_happen_counts_only_for_opensta():
    gates: dict[str, Gate] = {
        "i": ("INV", {"A": 3, "Y": 5}),
        "x": ("HA", {"A": 5, "B": 2, "S": 6}),
        "o": ("INV", {"A": 6, "Y": 4}),
    }
    netlist = read(gates)
    possible = analyze_timing(netlist, LIBRARY, None, Conditions())
    enabled = analyze_timing(netlist, LIBRARY, None, Conditions(slews="enabled"))
    # The sum follows its input or inverts it, but for OpenSTA both its edges lend their slew
    assert (enabled.slew_s >= possible.slew_s).all()
    assert (enabled.slew_s > possible.slew_s).any()
    assert (enabled.delay_s >= possible.delay_s).all()


def test_other_corners_time_the_same_netlist():
    netlist = read({"u": ("INV", {"A": 3, "Y": 4})})
    slower = parse_liberty(library_text().replace('time_unit : "1ns"', 'time_unit : "2ns"'))
    np.testing.assert_allclose(static_delays(netlist, slower), 2 * static_delays(netlist, LIBRARY))


@pytest.mark.parametrize(
    ("cell", "sentence"),
    [
        (input_pin("A") + input_pin("B") + output_pin("Y", "A & B", arc("A", "positive_unate", 1.0)),
         "cell X must have a timing arc from B to Y, but has none"),
        (input_pin("A") + input_pin("B")
         + output_pin("Y", "A B", *(arc(p, "positive_unate", 1) for p in "ABZ"))
         + output_pin("Z", "A B", *(arc(p, "positive_unate", 1) for p in "ABY")),
         "the outputs of cell X must not be timed from each other, but are: Y to Z, Z to Y"),
        (input_pin("A") + input_pin("B")
         + output_pin("Y", "A & B", arc("A", "positive_unate", 1, "C"), arc("B", "positive_unate", 1)),
         "a `when` of cell X must name its pins, not C: C"),
    ],
)  # fmt: skip
def test_a_cell_that_cannot_be_timed_is_refused(cell: str, sentence: str):
    library = parse_liberty(library_text({"X": cell}))
    text = netlist_json(PORTS, {"u": ("X", {"A": 2, "B": 3, "Y": 4})})
    with pytest.raises(NetlistError) as error:
        static_delays(parse_netlist(text, library, TINY), library)
    assert str(error.value) == sentence


def test_a_ripple_array_is_slowest_where_all_rows_are_active():
    cells = {
        "and": ("AND2", ("A", "B", "Y")),
        "ha": ("HA", ("A", "B", "S", "CO")),
        "fa": ("FA", ("A", "B", "CI", "S", "CO")),
    }
    extra = {
        "AND2": input_pin("A")
        + input_pin("B")
        + output_pin("Y", "A & B", arc("A", "positive_unate", 1), arc("B", "positive_unate", 1)),
        "FA": "".join(input_pin(p) for p in ("A", "B", "CI"))
        + output_pin("S", "A ^ B ^ CI", *(arc(p, "non_unate", 1.5) for p in ("A", "B", "CI")))
        + output_pin("CO", "A B | CI (A | B)", *(arc(p, "positive_unate", 1.2) for p in ("A", "B", "CI"))),
    }
    library = parse_liberty(library_text({**CELLS, **extra}))
    ports = MacPorts(partial=None, weight_bits=4, activation_bits=4, result_bits=8)
    netlist = parse_netlist(array_multiplier(4, cells), library, ports)
    delays = dict(zip(weight_values(ports).tolist(), static_delays(netlist, library).tolist(), strict=True))
    assert delays[0] == 0.0
    assert delays[1] < delays[3] < delays[7]
    assert delays[-1] == max(delays.values())  # the pins 1111
