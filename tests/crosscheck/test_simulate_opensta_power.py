"""OpenSTA as the judge of our energies: every power table of every cell, and a whole MAC with its glitches.

Debian's 2019 OpenSTA reads no VCD or SAIF and cannot be given the activity of a gate's output; what it makes of power
differs from Liberty's meaning in the ways that `power_judge` lists. So it is asked one edge at a time: a gate by
itself, one pin that toggles, the others held, at the slew and load that our simulation reads its tables at.

- Every table: combinational cells (every sixth one at typical corners; with HALOQUANT_TEST_DRAWS=all every second
  one, and every eighth at slow corners; all in scripts/nightly), every pin,
  every state of the other pins, either edge, inputs' own energies, leakage of every state.
- A MAC: the edges that Icarus Verilog counts, glitches included, by gate, pin, state and direction, are the activities;
  what OpenSTA makes of them is compared with our energies gate by gate.
- The loads it is told are ours; that they are right is seen from a whole netlist with one activity everywhere.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from haloquant.circuits.liberty.parser import parse_liberty
from haloquant.circuits.liberty.records import Cell, Library
from haloquant.circuits.netlist.parser import Netlist, library_cells, net_loads, parse_netlist
from haloquant.circuits.ports import MacPorts
from haloquant.circuits.rtl.generator import MacSpec, generate, ports_of
from haloquant.circuits.simulation.engine import Domains, run_program
from haloquant.circuits.simulation.leakage import leakage_w
from haloquant.circuits.simulation.program import build_program
from haloquant.circuits.simulation.stimuli import activation_stimuli
from haloquant.circuits.simulation.switching_arcs import leakage_table
from haloquant.circuits.simulation.timed_gates import TimedGates
from haloquant.circuits.simulation.value_table import annotate_netlist
from haloquant.circuits.simulation.waveforms import Filter
from haloquant.circuits.timing.conditions import Conditions
from haloquant.circuits.timing.static_timing import analyze_timing
from haloquant.eda.crosscheck.icarus import run_verilog
from haloquant.eda.crosscheck.opensta import OpenSta, find_opensta, netlist_verilog
from haloquant.eda.crosscheck.timed_verilog import bench_verilog, timed_verilog, vectors, without_pins
from haloquant.errors import ToolError
from haloquant.store.cell_libraries import liberty_text
from support.draws import ALL, NIGHTLY, daily
from support.every_cell import ARRAY_CELLS, one_of_each
from support.gate_cases import array_multiplier
from support.near import near
from support.power_judge import RULES, Cells, Question, ask, read_cells, whole_power
from support.seen_edges import Seen
from support.transitions import transition_index

pytestmark = [pytest.mark.crosscheck, pytest.mark.data]

TYPICAL = ("nangate45/nangate45_typ", "asap7/trim_asap7_rvt_tt", "sky130hd/sky130hd_tt_025C_1v80")
CORNERS = (*TYPICAL, "nangate45/nangate45_slow", "asap7/trim_asap7_rvt_ss", "sky130hd/sky130hd_ss_n40C_1v28")
SHARES = (1, 1) if NIGHTLY else (2, 8) if ALL else (6, 6)  # one of so many cells, at typical and at other corners
AROUND = Conditions(input_slew_s=30e-12, output_load_f=1e-15)
NEAR = 1e-5  # OpenSTA computes in single precision; the largest difference seen is 7e-6, where a table crosses zero
NOTHING_J = 1e-22  # a ten-millionth of a femtojoule, for tables that cross zero
SETTLE_FS = 20_000_000

# OpenSTA takes the terms of a function for independent of each other. Where they share the pin that moves, it gets
# the activity wrong; the energy of an edge is right.
SHARED_TERMS = {"a31oi": 0.75, "o31a": 0.75}


@pytest.fixture(scope="module")
def tool() -> OpenSta:
    try:
        found = find_opensta()
    except ToolError as error:
        pytest.skip(str(error))
    for one in found:
        if one.version == RULES:
            return one
    pytest.skip(f"needs OpenSTA {RULES}, whose rules for power are known; here are {[one.version for one in found]}")


@cache
def read(find_data: Callable[[str], Path], name: str) -> tuple[Library, Cells]:
    text = liberty_text(find_data(f"liberty/{name}.lib.gz"))
    return parse_liberty(text, name), read_cells(text)


@pytest.mark.thinned
@pytest.mark.parametrize("name", daily(CORNERS, TYPICAL))
def test_every_power_table_of_every_cell(name: str, tool: OpenSta, find_data: Callable[[str], Path], tmp_path: Path):
    library, texts = read(find_data, name)
    netlist, cells = one_of_each(library)
    share = SHARES[name not in TYPICAL]
    cells = dict(list(cells.items())[::share])
    held = np.array([0], np.int16)
    slew_s = analyze_timing(netlist, library, held, AROUND).slew_s[:, :, 0]
    load_f = net_loads(netlist, library, AROUND.output_load_f)
    gates = annotate_netlist(netlist, library, held, AROUND)
    questions: list[Question] = []
    ours: list[float] = []
    for g, gate in enumerate(gates.names):
        instance, output = gate.rsplit("/", 1)
        cell = cells.get(instance)
        if cell is None:
            continue
        pins, truth = [pin.name for pin in cell.inputs], int(gates.truth[g])
        for p, pin in enumerate(pins):
            for m in range(1 << len(pins)):
                slot = int(gates.slot[g]) + (p << len(pins)) + m
                level, after = m >> p & 1, truth >> m & 1
                side = _side(pins, m, p)
                slew = float(slew_s[gates.inputs[g, p], 0 if level else 1])
                if truth >> (m ^ 1 << p) & 1 != after:
                    load = float(load_f[0 if after else 1][gates.output[g]])
                    questions.append(Question(cell.name, pin, output, "rise" if after else "fall", side, slew, load))
                    ours.append(float(gates.internal_j[0, slot]))
                if output == cell.outputs[0].name:
                    questions.append(Question(cell.name, pin, "", "rise" if level else "fall", side, slew))
                    ours.append(float(gates.hidden_j[0, slot]))
        if output == cell.outputs[0].name:
            for m, power in enumerate(leakage_table(cell).tolist()):
                questions.append(Question(cell.name, pins[0], "", "leak", _side(pins, m)))
                ours.append(power)
    answers = ask(tool, texts, questions, library.corner.voltage_v, tmp_path)
    leaks = np.array([q.edge == "leak" for q in questions])
    judge = np.array(
        [a.leakage_w if q.edge == "leak" else a.internal_j for q, a in zip(questions, answers, strict=True)]
    )
    assert leaks.sum() == sum(1 << len(cell.inputs) for cell in cells.values())
    assert (~leaks).sum() > 1500 / share and np.count_nonzero(judge) > 1500 / share
    np.testing.assert_allclose(np.array(ours)[leaks], judge[leaks], rtol=1e-6, atol=0)
    crossing_j = 1e-8 * float(judge[~leaks].max())  # single precision of tables that cross zero
    np.testing.assert_allclose(np.array(ours)[~leaks], judge[~leaks], rtol=NEAR, atol=crossing_j)
    wrong = {(q.cell, round(a.moves, 4)) for q, a in zip(questions, answers, strict=True) if abs(a.moves - 1) > NEAR}
    assert all(SHARED_TERMS.get(cell.split("__")[-1].rsplit("_", 1)[0]) == moves for cell, moves in wrong), wrong


def _side(pins: Sequence[str], minterm: int, but: int = -1) -> tuple[tuple[str, int], ...]:
    return tuple((name, minterm >> i & 1) for i, name in enumerate(pins) if i != but)


ARRAYS = {
    "nangate45/nangate45_typ": ARRAY_CELLS["nangate45"],
    "sky130hd/sky130hd_tt_025C_1v80": ARRAY_CELLS["sky130hd"],
}
EIGHT = MacPorts(partial=None, weight_bits=8, activation_bits=8, result_bits=16)


@pytest.mark.parametrize("name", sorted(ARRAYS))
def test_an_array_of_full_adders_with_its_glitches(
    name: str, tool: OpenSta, icarus, find_data: Callable[[str], Path], tmp_path: Path
):
    library, texts = read(find_data, name)
    netlist = parse_netlist(array_multiplier(8, ARRAYS[name]), library, EIGHT)
    glitches = same_energies(tool, icarus, netlist, library, texts, -86, tmp_path)
    assert glitches > 0.1  # of all edges: there was something to see


# The arrays above are of the other two libraries; asap7 has no full adder that they could be made of.
@pytest.mark.seldom
@pytest.mark.slow
@pytest.mark.parametrize("name", TYPICAL if NIGHTLY else ["asap7/trim_asap7_rvt_tt"])
def test_a_synthesized_booth_multiplier_with_its_glitches(
    name: str, tool: OpenSta, icarus, find_data: Callable[[str], Path], tmp_path: Path
):
    yosys = pytest.importorskip("haloquant.eda.yosys")
    spec = MacSpec(stage="mul")
    try:
        made = yosys.synthesize(generate(spec), find_data(f"liberty/{name}.lib.gz"), 1e-10)
    except ToolError as error:
        pytest.skip(str(error))
    library, texts = read(find_data, name)
    netlist = parse_netlist(made.json_text, library, ports_of(spec))
    assert same_energies(tool, icarus, netlist, library, texts, -86, tmp_path) > 0.1


def same_energies(
    tool: OpenSta,
    icarus,
    netlist: Netlist,
    library: Library,
    texts: Cells,
    weight: int,
    folder: Path,
) -> float:
    """Compare gate by gate over 256 transitions that begin in every activation once and end in every one once.

    Returns:
        The share of edges that are glitches (more than the settled levels ask for).
    """
    held = np.array([weight], np.int16)
    gates = without_pins(annotate_netlist(netlist, library, held, AROUND))
    order = np.random.default_rng(7)
    before, after = (order.permutation(np.arange(-128, 128)).astype(np.int16) for _ in range(2))
    files = {
        "mac.v": timed_verilog(gates, 0, Filter.INERTIAL),
        "bench.v": bench_verilog(gates, before.size, SETTLE_FS, dump=True),
        "vectors.txt": vectors(gates, (before, after)),
    }
    seen = Seen(gates, SETTLE_FS, run_verilog(icarus, files, limit_s=120.0)["edges.vcd"])
    assert seen.transitions == before.size

    probability = np.bincount(transition_index(before, after, 8), minlength=65536) / before.size
    stimuli = activation_stimuli(8, drawn=probability)
    program = build_program(gates)
    found = run_program(program, Domains(stimuli), [0], gates.end, Filter.INERTIAL, lambda *_: None)
    own = program.of_gate[0] - program.first
    toggles = np.where(own >= 0, found.toggles[own, 1], 0.0)
    internal_j = np.where(own >= 0, found.internal_j[own, 1], 0.0)
    edges = np.array([sum(seen.edges[g].values()) for g in range(len(gates.names))])
    np.testing.assert_allclose(toggles * before.size, edges, rtol=0, atol=1e-6)

    place, questions = zip(*asked(seen, gates, netlist, library, held), strict=True)
    judge = ask(tool, texts, questions, library.corner.voltage_v, folder)
    judged_internal, judged_switching, judged_leakage, terms = (np.zeros(len(gates.names)) for _ in range(4))
    for g, answer, question in zip(place, judge, questions, strict=True):
        if question.edge == "leak":
            judged_leakage[g] += answer.leakage_w * question.activity
        else:
            judged_internal[g] += answer.internal_j
            judged_switching[g] += answer.switching_j
            terms[g] += abs(answer.internal_j)
    switching_j = toggles * gates.switching_j[gates.output]
    assert (np.abs(internal_j - judged_internal) <= NEAR * terms + NOTHING_J).all()  # edges of both signs cancel
    np.testing.assert_allclose(switching_j, judged_switching, rtol=NEAR, atol=NOTHING_J)
    assert leakage_w(netlist, library, held)[0] == near(judged_leakage.sum(), rel=1e-6, abs=0)
    print(
        f"{netlist.name}: internal {internal_j.sum():.6e} J, OpenSTA {judged_internal.sum():.6e}; switching "
        f"{switching_j.sum():.6e}, {judged_switching.sum():.6e}; {len(questions)} questions, {edges.sum()} edges, "
        f"{1 - seen.needed / edges.sum():.3f} glitches"
    )
    return float(1 - seen.needed / edges.sum())


def asked(
    seen: Seen, gates: TimedGates, netlist: Netlist, library: Library, held: np.ndarray
) -> Iterator[tuple[int, Question]]:
    """All that was seen, as questions about a gate; their activities are those of one transition."""
    slew_s = analyze_timing(netlist, library, held, AROUND).slew_s[:, :, 0]
    load_f = net_loads(netlist, library, AROUND.output_load_f)
    cells = dict(
        zip(netlist.gates.names, (library_cells(netlist, library)[k] for k in netlist.gates.kind), strict=True)
    )
    edge = ("fall", "rise")
    for g, name in enumerate(gates.names):
        instance, output = name.rsplit("/", 1)
        cell = cells[instance]
        pins, truth = [pin.name for pin in cell.inputs], int(gates.truth[g])
        slew = {(p, level): float(slew_s[gates.inputs[g, p], 1 - level]) for p in range(len(pins)) for level in (0, 1)}
        for (p, m), often in seen.edges[g].items():
            after, share = truth >> m & 1, often / seen.transitions
            load = float(load_f[1 - after][gates.output[g]])
            yield (
                g,
                Question(cell.name, pins[p], output, edge[after], _side(pins, m, p), slew[p, m >> p & 1], load, share),
            )
        if output != cell.outputs[0].name:
            continue  # what belongs to the cell goes with its first output
        for (p, m), often in seen.moved[g].items():
            level, share = m >> p & 1, often / seen.transitions
            yield g, Question(cell.name, pins[p], "", edge[level], _side(pins, m, p), slew[p, level], 0.0, share)
        for m, often in seen.states[g].items():
            yield g, Question(cell.name, pins[0], "", "leak", _side(pins, m), activity=often / seen.transitions)


@pytest.mark.parametrize("name", TYPICAL)
def test_the_loads_and_the_mean_leakage_of_every_cell(
    name: str, tool: OpenSta, find_data: Callable[[str], Path], tmp_path: Path
):
    """The same activity everywhere: what is left is 1/2 C V^2. OpenSTA takes the larger of a pin's two capacitances."""
    library, texts = read(find_data, name)
    netlist, _ = one_of_each(library)
    judge = whole_power(tool, texts, netlist_verilog(netlist), tmp_path)
    rise, fall = net_loads(netlist, library, AROUND.output_load_f)
    gates, cells = netlist.gates, library_cells(netlist, library)
    drives = [gates.output_net[gates.output_start[g] : gates.output_start[g + 1]] for g in range(len(gates))]
    half = 0.5 * library.corner.voltage_v**2
    larger, mean = (
        np.array([half * c[nets].sum() for nets in drives]) for c in (np.maximum(rise, fall), (rise + fall) / 2)
    )
    leakage = [_leakage_by_opensta(cells[k]) for k in gates.kind]
    theirs = np.array([judge[f"g{g}"] for g in range(len(gates))])
    np.testing.assert_allclose(larger, theirs[:, 0], rtol=1e-6, atol=0)
    np.testing.assert_allclose(leakage, theirs[:, 1], rtol=1e-6, atol=0)
    assert (mean <= larger).all() and mean.sum() > 0.9 * larger.sum()
    print(f"{name}: mean of rise and fall is {mean.sum() / larger.sum():.4f} of the larger")


def _leakage_by_opensta(cell: Cell) -> float:
    """The mean over all states; this release counts it twice where a condition names the output, as ASAP7's do."""
    outputs = {pin.name for pin in cell.outputs}
    twice = any(entry.when is not None and outputs & set(entry.when.inputs) for entry in cell.leakage)
    return float(leakage_table(cell).mean()) * (2 if twice else 1)
