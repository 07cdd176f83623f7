"""Our static timing against OpenSTA: the same netlist, the same library, one case analysis per weight value.

What differs from OpenSTA's value by more than a fifty-thousandth must be explained by one of two things, and is then
shown to vanish (for the largest differences of a MAC): the slews that OpenSTA takes from edges that cannot happen
(`Conditions.slews = "enabled"`), and the arcs that an exact look at a gate's function excludes (`idle_arcs`, which
OpenSTA is told to disable).
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from haloquant.circuits.liberty.parser import parse_liberty
from haloquant.circuits.liberty.records import Library
from haloquant.circuits.netlist.parser import Netlist, parse_netlist
from haloquant.circuits.ports import MacPorts, weight_values
from haloquant.circuits.rtl.generator import MacSpec, generate, ports_of
from haloquant.circuits.timing.conditions import Conditions
from haloquant.circuits.timing.paths import worst_path
from haloquant.circuits.timing.static_timing import analyze_timing, static_delays
from haloquant.eda.crosscheck.opensta import (
    OpenSta,
    PartialArrivals,
    case_delays,
    case_path,
    find_opensta,
    idle_arcs,
    netlist_verilog,
)
from haloquant.errors import NetlistError, ToolError
from haloquant.store.cell_libraries import liberty_text
from support.draws import ALL, NIGHTLY, daily
from support.every_cell import ARRAY_CELLS
from support.gate_cases import array_multiplier, netlist_json, random_gates
from support.near import near

pytestmark = [pytest.mark.crosscheck, pytest.mark.data]

ARRAYS = {
    "nangate45/nangate45_typ": ARRAY_CELLS["nangate45"],
    "sky130hd/sky130hd_ss_100C_1v60": ARRAY_CELLS["sky130hd"],
}
PLAIN = "sky130hd/sky130hd_ss_100C_1v60"  # for tests that need no more than one library
EIGHT = MacPorts(partial=None, weight_bits=8, activation_bits=8, result_bits=16)
# Values of a synthesized MAC: odd, even, and all digits, from -128 to 127. The arrays of full adders meet every value.
STEP = 1 if NIGHTLY else 5 if ALL else 15
EXPLAINED = 12 if ALL else 4  # differences of a MAC
CONDITIONS = Conditions(input_slew_s=30e-12, clock_slew_s=20e-12, output_load_f=4e-15)


def _installed() -> tuple[OpenSta, ...]:
    try:
        return find_opensta()
    except ToolError:
        return ()


@pytest.fixture(scope="module", params=_installed() or [None], ids=lambda tool: tool.version if tool else "none")
def tool(request: pytest.FixtureRequest) -> OpenSta:
    if request.param is None:
        pytest.skip("needs OpenSTA (`sta`), which is absent here; Debian's package is `opensta`")
    return request.param


@pytest.fixture(scope="module")
def read(find_data: Callable[[str], Path]):
    known: dict[str, tuple[Library, str]] = {}

    def library(name: str) -> tuple[Library, str]:
        if name not in known:
            text = liberty_text(find_data(f"liberty/{name}.lib.gz"))
            known[name] = parse_liberty(text, name), text
        return known[name]

    return library


def agree(
    tool: OpenSta, netlist: Netlist, library: Library, text: str, conditions: Conditions, step: int = 1
) -> tuple[float, int]:
    """Compare every value, or one of `step`, and explain what differs.

    Returns the share within 1 % and how many had to be explained.
    """
    weights = weight_values(netlist.ports)[::step]
    convention = Conditions(conditions.input_slew_s, conditions.clock_slew_s, conditions.output_load_f, "enabled")
    arrivals = partial_arrivals(netlist, library, convention) if netlist.ports.partial_registered else None
    judge = case_delays(tool, netlist, text, weights, conditions, partial=arrivals).delay_s
    ours = static_delays(netlist, library, weights, conditions)
    theirs = static_delays(netlist, library, weights, convention)
    assert (ours <= theirs * (1 + 1e-12)).all()
    assert ((judge == 0) == (ours == 0)).all()
    moving = judge > 0
    assert (theirs[moving] <= judge[moving] * (1 + 2e-5)).all()  # never slower than OpenSTA
    left = np.flatnonzero(moving & (np.abs(theirs - judge) > 2e-5 * judge))
    for i in sorted(left.tolist(), key=lambda i: theirs[i] / judge[i])[:EXPLAINED]:
        idle = idle_arcs(netlist, library, int(weights[i]))
        told = case_delays(tool, netlist, text, weights[i : i + 1], conditions, idle, partial=arrivals).delay_s[0]
        assert theirs[i] == near(told, rel=2e-5)
    return float((np.abs(ours[moving] / judge[moving] - 1) < 0.01).mean()), len(left)


def partial_arrivals(netlist: Netlist, library: Library, conditions: Conditions) -> PartialArrivals:
    """When the result moves: so the partial sum arrives, from the same registers of the element before."""
    timing = analyze_timing(netlist, library, weight_values(netlist.ports)[:1], conditions)
    at = netlist.result_net
    slew = np.maximum(timing.slew_s[at, :, 0], conditions.input_slew_s)
    return PartialArrivals(np.maximum(timing.arrival_s[at, :, 0], 0.0), slew)


ELEMENTS = [
    (MacSpec(rows="digits", stage="cs4", weight_bits=4), "asap7/trim_asap7_rvt_tt", 160e-12),
    (MacSpec(rows="onedigit", stage="cs4", weight_bits=4), "sky130hd/sky130hd_tt_025C_1v80", 900e-12),
    (MacSpec(rows="onedigit", stage="cs4", weight_bits=4), "asap7/trim_asap7_rvt_tt", 160e-12),
    (MacSpec(rows="digits", stage="cs4", weight_bits=4), "nangate45/nangate45_typ", 260e-12),
    (MacSpec(rows="digits", stage="cs4"), "asap7/trim_asap7_rvt_tt", 160e-12),
]


@pytest.mark.thinned
@pytest.mark.parametrize(
    ("spec", "name", "period_s"),
    daily(ELEMENTS, ELEMENTS[:2]),
    ids=lambda value: getattr(value, "name", value),
)
def test_an_element_with_its_registers_and_setup(
    spec: MacSpec, name: str, period_s: float, tool: OpenSta, read, find_data: Callable[[str], Path]
):
    yosys = pytest.importorskip("haloquant.eda.yosys")
    try:
        made = yosys.synthesize(generate(spec), find_data(f"liberty/{name}.lib.gz"), period_s)
    except ToolError as error:
        pytest.skip(str(error))
    library, text = read(name)
    netlist = parse_netlist(made.json_text, library, ports_of(spec))
    within, _ = agree(tool, netlist, library, text, CONDITIONS)
    assert within > 0.98


@pytest.mark.parametrize("name", sorted(ARRAYS))
def test_an_array_of_full_adders_value_by_value(name: str, tool: OpenSta, read):
    library, text = read(name)
    netlist = parse_netlist(array_multiplier(8, ARRAYS[name]), library, EIGHT)
    within, explained = agree(tool, netlist, library, text, Conditions())
    assert within == 1.0
    assert explained == 0


@pytest.mark.parametrize(
    "name", ["nangate45/nangate45_slow", "asap7/trim_asap7_rvt_tt", "sky130hd/sky130hd_tt_025C_1v80"]
)
@pytest.mark.parametrize("seed", [1])
def test_random_logic_of_every_kind_of_cell(name: str, seed: int, tool: OpenSta, read):
    library, text = read(name)
    netlist = random_mac(library, seed)
    assert len({netlist.kinds[k].name for k in netlist.gates.kind}) > 60
    within, _ = agree(tool, netlist, library, text, CONDITIONS)
    assert within >= 0.5  # deep random logic of constants: everything beyond 1 % is explained above


def random_mac(library: Library, seed: int) -> Netlist:
    """400 gates of all the library's combinational cells, half behind registers."""
    pins = {
        name: ([p.name for p in cell.inputs], [p.name for p in cell.outputs])
        for name, cell in library.cells.items()
        if cell.inputs and cell.outputs and not cell.latch and cell.register is None and not cell.dont_use
        and all(p.function and not p.three_state and set(p.function.inputs) == {q.name for q in cell.inputs}
                for p in cell.outputs)
        and all(any(a.related == i.name and a.pin == o.name and a.cell_rise and a.cell_fall for a in cell.arcs)
                for i in cell.inputs for o in cell.outputs)
    }  # fmt: skip
    weight, activation, partial = list(range(2, 7)), list(range(20, 28)), list(range(40, 56))
    gates, driven = random_gates(seed, [*weight, *activation, *partial], 400, pins)
    flop = next(
        c for c in library.cells.values()
        if c.register and c.register.next_state.text == "D" and c.register.clear is c.register.preset is None
        and c.register.clocked_on.text[0] != "!" and len(c.inputs) == 2
    )  # fmt: skip
    clock = next(p.name for p in flop.inputs if p.name != "D")
    for i, net in enumerate(driven[100:108]):  # registers at eight places amid the logic
        outputs = {pin.name: 5000 + 10 * i + j for j, pin in enumerate(flop.outputs)}
        gates[f"r{i}"] = (flop.name, {"D": net, clock: 99, **outputs})
        gates[f"s{i}"] = (next(n for n, p in pins.items() if len(p[0]) == 1), {})
        name, (inputs, outs) = next((n, p) for n, p in pins.items() if len(p[0]) == 1)
        gates[f"s{i}"] = (name, {inputs[0]: 5000 + 10 * i, outs[0]: 6000 + i})
    ports = {
        "weight": ("input", weight),
        "activation": ("input", activation),
        "partial": ("input", partial),
        "clk": ("input", [99]),
        "result": ("output", [*driven[-8:], *[6000 + i for i in range(8)]]),
    }
    declared = MacPorts(weight_bits=5, activation_bits=8, result_bits=16, clock="clk")
    return parse_netlist(netlist_json(ports, gates), library, declared)


BOOTH = [
    ("nangate45/nangate45_typ", "mul"),
    ("asap7/trim_asap7_rvt_tt", "pipe"),
    ("sky130hd/sky130hd_tt_025C_1v80", "mul"),
    ("nangate45/nangate45_typ", "pipe"),
    ("asap7/trim_asap7_rvt_tt", "mul"),
    ("sky130hd/sky130hd_tt_025C_1v80", "pipe"),
]


@pytest.mark.slow
@pytest.mark.thinned
@pytest.mark.parametrize(("name", "stage"), daily(BOOTH, BOOTH[:3]))
def test_a_synthesized_booth_mac_by_value(name: str, stage: str, tool: OpenSta, read, find_data: Callable[[str], Path]):
    yosys = pytest.importorskip("haloquant.eda.yosys")
    spec = MacSpec(stage=stage)  # pyright: ignore[reportArgumentType]
    try:
        made = yosys.synthesize(generate(spec), find_data(f"liberty/{name}.lib.gz"), 1e-10)
    except ToolError as error:
        pytest.skip(str(error))
    library, text = read(name)
    netlist = parse_netlist(made.json_text, library, ports_of(spec))
    within, _ = agree(tool, netlist, library, text, Conditions(), STEP)
    assert within > 0.98


def test_the_worst_path_is_the_same_pins(tool: OpenSta, read):
    name = PLAIN
    library, text = read(name)
    netlist = parse_netlist(array_multiplier(8, ARRAYS[name]), library, EIGHT)
    ours = worst_path(netlist, library, -86)
    gate = {g: i for i, g in enumerate(netlist.gates.names)}
    expected = [(gate[step.gate], pin) for step in ours.steps for pin in (step.from_pin, step.to_pin)]
    assert case_path(tool, netlist, text, -86) == expected


def test_an_arc_that_a_look_term_by_term_takes_for_live_is_idle(read):
    """`!(A1 A2 + B)` written as terms, with A1 = 0: A2 has no influence."""
    library, _ = read("sky130hd/sky130hd_tt_025C_1v80")
    gates = {"u": ("sky130_fd_sc_hd__a21oi_1", {"A1": 2, "A2": 3, "B1": 4, "Y": 5})}
    pins = {"weight": ("input", [2]), "activation": ("input", [3, 4]), "result": ("output", [5])}
    ports = MacPorts(partial=None, weight_bits=1, activation_bits=2, result_bits=1)
    netlist = parse_netlist(netlist_json(pins, gates), library, ports)
    assert [(d.related, d.pin) for d in idle_arcs(netlist, library, 0)] == [("A2", "Y")]
    assert idle_arcs(netlist, library, -1) == []


def test_what_opensta_says_of_a_bad_library_is_passed_on(tool: OpenSta, read):
    name = PLAIN
    library, _ = read(name)
    netlist = parse_netlist(array_multiplier(8, ARRAYS[name]), library, EIGHT)
    with pytest.raises(ToolError, match=r"^OpenSTA \S+ must "):
        case_delays(tool, netlist, "library (x) { }", weight_values(EIGHT)[:2])


def test_names_that_verilog_cannot_say(read):
    library, _ = read(PLAIN)
    netlist = parse_netlist(array_multiplier(8, ARRAYS[PLAIN]), library, EIGHT)
    kinds = tuple(
        type(k)("AND2; exit", k.inputs, k.outputs) if k.name == "sky130_fd_sc_hd__and2_0" else k for k in netlist.kinds
    )
    bad = Netlist(**{f: getattr(netlist, f) for f in Netlist.__slots__} | {"kinds": kinds})
    with pytest.raises(NetlistError) as error:
        netlist_verilog(bad)
    assert str(error.value) == "a cell or pin must have a plain Verilog name to be cross-checked, not 'AND2; exit'"
