"""Icarus Verilog on the same netlists and delays: same final values, same arrivals, same edges of every net."""

import re

import numpy as np
import pytest

from haloquant.circuits.ports import weight_values
from haloquant.circuits.simulation.engine import Domains, NetLanes, run_program
from haloquant.circuits.simulation.program import build_program
from haloquant.circuits.simulation.stimuli import activation_stimuli, gaussian_partial_sums, with_partial_sums
from haloquant.circuits.simulation.timed_gates import TimedGates
from haloquant.circuits.simulation.value_table import annotate_netlist, last_edge_fs
from haloquant.circuits.simulation.waveforms import Filter
from haloquant.circuits.timing.conditions import Conditions
from haloquant.eda.crosscheck.icarus import icarus_version, run_verilog
from haloquant.eda.crosscheck.timed_verilog import (
    bench_verilog,
    timed_verilog,
    vectors,
    without_conditions,
    without_pins,
)
from haloquant.errors import ToolError
from support.circuits import multiplier, small_library
from support.transitions import all_transitions, transition_index

pytestmark = pytest.mark.crosscheck
SETTLE_FS = 5_000_000
AROUND = Conditions(input_slew_s=20e-12, output_load_f=3e-15)
PREPARE = {Filter.SAMPLED: without_conditions, Filter.INERTIAL: without_pins}


def simulate(gates: TimedGates, w: int, filtering: Filter, stimuli, nets):
    domains = Domains(stimuli)
    found: dict[int, dict[int, NetLanes]] = {}
    program = build_program(gates)
    run_program(program, domains, [w], nets, filtering, found.__setitem__)
    return program, domains, found[w]


def arrivals(gates: TimedGates, w: int, filtering: Filter, stimuli) -> np.ndarray:
    _, domains, lanes = simulate(gates, w, filtering, stimuli, gates.result)
    wide = domains.result_domain(stimuli.partial_before is not None)
    latest = np.zeros(domains.lane_count(wide), np.int64)
    for net in lanes.values():
        shown = last_edge_fs(net.waveforms)[net.ids]
        latest = np.maximum(latest, shown[domains.lane_map(wide, net.domain)])
    return latest


def icarus_arrivals(icarus, gates, w, filtering, activation, partial=None) -> tuple[np.ndarray, np.ndarray]:
    files = {
        "mac.v": timed_verilog(gates, w, filtering),
        "bench.v": bench_verilog(gates, activation[0].size, SETTLE_FS),
        "vectors.txt": vectors(gates, activation, partial),
    }
    rows = [line.split() for line in run_verilog(icarus, files, limit_s=120.0)["arrivals.txt"].splitlines()]
    return np.array([int(row[0]) for row in rows]), np.array([int(row[1], 16) for row in rows])


@pytest.mark.parametrize("filtering", list(Filter), ids=lambda f: f.name)
def test_every_transition_of_every_weight_ends_alike_and_as_late(icarus, filtering):
    bits = 4
    netlist = multiplier(bits)
    weights = weight_values(netlist.ports)
    gates = PREPARE[filtering](annotate_netlist(netlist, small_library(), weights, AROUND))
    before, after = all_transitions(bits)
    for w in range(0, weights.size, 3):
        time_fs, value = icarus_arrivals(icarus, gates, w, filtering, (before, after))
        np.testing.assert_array_equal(value, (int(weights[w]) * after.astype(int)) & 0xFF)
        np.testing.assert_array_equal(time_fs, arrivals(gates, w, filtering, activation_stimuli(bits)))


@pytest.mark.parametrize("filtering", list(Filter), ids=lambda f: f.name)
def test_partial_sums_end_alike_and_as_late(icarus, filtering):
    netlist = multiplier(3, partial=True)
    gates = PREPARE[filtering](annotate_netlist(netlist, small_library(), np.array([-3], np.int16), AROUND))
    values, histogram = gaussian_partial_sums(8, 2.0, 2.0, 6)
    stimuli = with_partial_sums(activation_stimuli(3), values, histogram, lanes=200, seed=1)
    before, after = (states[stimuli.transition] for states in all_transitions(3))
    partial = (stimuli.partial_before, stimuli.partial_after)
    time_fs, value = icarus_arrivals(icarus, gates, 0, filtering, (before, after), partial)
    np.testing.assert_array_equal(value, (-3 * after.astype(int) + stimuli.partial_after) & 0x3F)
    np.testing.assert_array_equal(time_fs, arrivals(gates, 0, filtering, stimuli))


@pytest.mark.parametrize("filtering", list(Filter), ids=lambda f: f.name)
def test_every_edge_of_every_net_is_the_same(icarus, filtering):
    bits = 4
    netlist = multiplier(bits)
    gates = PREPARE[filtering](annotate_netlist(netlist, small_library(), np.array([-5], np.int16), AROUND))
    rng = np.random.default_rng(3)
    before, after = (rng.integers(-8, 8, 60).astype(np.int16) for _ in range(2))
    files = {
        "mac.v": timed_verilog(gates, 0, filtering),
        "bench.v": bench_verilog(gates, before.size, SETTLE_FS, dump=True),
        "vectors.txt": vectors(gates, (before, after)),
    }
    theirs = _edges(run_verilog(icarus, files, limit_s=60.0)["edges.vcd"])
    program, domains, lanes = simulate(gates, 0, filtering, activation_stimuli(bits), gates.output)
    lane = transition_index(before, after, bits)
    counted = 0
    for net in gates.output:
        node = int(program.of_net[0, net])
        ours: list[int] = []
        for i in range(before.size if node > 1 else 0):
            found = lanes[node]
            wave = found.ids[domains.lane_map(domains.stimuli_domain() - 1, found.domain)[lane[i]]]
            start = found.waveforms.start
            times = found.waveforms.times_fs[start[wave] : start[wave + 1]]
            ours += [(2 * i + 1) * SETTLE_FS + int(t) for t in times]
        switched = [t for t in theirs.get(f"n{net}", []) if t // SETTLE_FS % 2 == 1]
        assert switched == ours, f"net {net}"
        counted += len(ours)
    assert counted > 1000


def _edges(vcd: str) -> dict[str, list[int]]:
    """Times at which each one-bit net of a value change dump changes, by name."""
    names = {code: name for code, name in re.findall(r"\$var wire 1 (\S+) (n\d+) \$end", vcd)}
    found: dict[str, list[int]] = {}
    now = 0
    for line in vcd.split("$enddefinitions $end")[1].splitlines():
        if line.startswith("#"):
            now = int(line[1:])
        elif line[:1] in ("0", "1") and line[1:] in names:
            found.setdefault(names[line[1:]], []).append(now)
    return found


def test_the_version_is_read(icarus):
    assert re.fullmatch(r"\d+\.\d+.*", icarus_version(icarus))


def test_a_simulation_that_takes_too_long_is_stopped(icarus):
    with pytest.raises(ToolError, match=r"vvp must finish within 1 s, and did not; give it less to do or more time"):
        run_verilog(icarus, {"loop.v": "module m; initial forever #1; endmodule"}, limit_s=1.0)


def test_what_the_compiler_says_is_passed_on(icarus):
    with pytest.raises(ToolError, match=r"iverilog failed with exit code \d+: .*syntax error"):
        run_verilog(icarus, {"bad.v": "module m; nonsense"}, limit_s=20.0)


def test_a_file_outside_the_folder_is_refused(icarus):
    with pytest.raises(ToolError, match=r"a file of a simulation must have a plain name, not '../x.v'"):
        run_verilog(icarus, {"../x.v": ""}, limit_s=20.0)
