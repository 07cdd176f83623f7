"""The compiled simulation against its slow twin, edge for edge, on random circuits; and against static timing."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from haloquant.circuits.characterization import typical_conditions
from haloquant.circuits.simulation.engine import Domains, NetLanes, run_program
from haloquant.circuits.simulation.program import build_program
from haloquant.circuits.simulation.reference.event_queue import simulate_transition
from haloquant.circuits.simulation.stimuli import Stimuli, activation_stimuli
from haloquant.circuits.simulation.timed_gates import MAX_PINS, TimedGates
from haloquant.circuits.simulation.value_table import simulate_values
from haloquant.circuits.simulation.waveforms import Filter
from haloquant.circuits.timing.conditions import Conditions
from haloquant.circuits.timing.static_timing import static_delays
from support.circuits import multiplier, small_library
from support.near import near
from support.transitions import all_transitions

BITS, CONSTANTS, PARTIAL, WEIGHTS = 2, 2, 1, 3


def random_gates(seed: int, gates: int, longest: int, registers: float = 0.0) -> TimedGates:
    """Gates of one to four pins with random functions; delays of 1 to `longest`, so that edges often coincide."""
    rng = np.random.default_rng(seed)
    first = 2 + BITS + CONSTANTS + PARTIAL
    pins = rng.integers(1, 5, gates).astype(np.int32)
    inputs = np.full((gates, MAX_PINS), -1, np.int32)
    for g in range(gates):
        inputs[g, : pins[g]] = rng.integers(0, first + g, pins[g])
        if g >= 6:  # prefer late nets: deep circuits glitch more
            inputs[g, 0] = first + g - rng.integers(1, 6)
    truth = np.array([rng.integers(0, 1 << (1 << p), dtype=np.uint64) for p in pins], np.uint64)
    slots = np.cumsum([0, *[int(p) << int(p) for p in pins]]).astype(np.int32)
    shape = (WEIGHTS, int(slots[-1]))
    delay = rng.integers(1, longest + 1, shape).astype(np.int32)
    register = rng.random(gates) < registers
    hidden = rng.random(shape) * (rng.random(shape) < 0.3)
    for g in np.flatnonzero(register):  # a register's delay and energy depend on its edge, and on a pin's edge, only
        for m in range(1 << pins[g]):
            delay[:, slots[g] + m : slots[g + 1] : 1 << pins[g]] = 2 + (int(truth[g]) >> m & 1)
            for p in range(pins[g]):
                hidden[:, slots[g] + (p << pins[g]) + m] = 0.1 * p + (m >> p & 1)
    level = np.concatenate([np.tile([False, True], (WEIGHTS, 1)), rng.random((WEIGHTS, CONSTANTS)) < 0.5], axis=1)
    result = np.arange(first + gates - 3, first + gates, dtype=np.int32)
    return TimedGates(
        names=tuple(f"g{g}" for g in range(gates)),
        pins=pins,
        inputs=inputs,
        output=np.arange(first, first + gates, dtype=np.int32),
        truth=truth,
        slot=slots[:-1],
        delay_fs=delay,
        internal_j=rng.random(shape),
        hidden_j=hidden,
        switching_j=rng.random(first + gates),
        activation=np.arange(2, 2 + BITS, dtype=np.int32),
        partial=np.arange(2 + BITS, 2 + BITS + PARTIAL, dtype=np.int32),
        constant=np.array([0, 1, *range(2 + BITS + PARTIAL, first)], np.int32),
        level=level,
        result=result,
        register=register,
        end=result,
        setup_fs=np.zeros((WEIGHTS, result.size, 2), np.int32),
        clock_j=0.0,
    )


def all_stimuli() -> Stimuli:
    """Every transition of the activation with every transition of a one-bit partial sum."""
    pair = np.tile(np.arange(4**BITS, dtype=np.int32), 4)
    partial = np.repeat(np.arange(4), 4**BITS)
    return Stimuli(BITS, pair, np.full((1, pair.size), 1 / pair.size), ("uniform",), partial & 1, partial >> 1)


def edges(net: NetLanes, domains: Domains, lane: int) -> tuple[int, list[int]]:
    wave = net.ids[domains.lane_map(domains.stimuli_domain(), net.domain)[lane]]
    waves = net.waveforms
    return int(waves.level[wave]), waves.times_fs[waves.start[wave] : waves.start[wave + 1]].tolist()


@pytest.mark.parametrize("filtering", list(Filter), ids=lambda f: f.name)
@pytest.mark.parametrize("registers", [0.0, 0.2], ids=["gates", "registers"])
@settings(max_examples=3, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), longest=st.sampled_from([1, 3, 20, 1000]))
def test_every_edge_and_energy_of_the_fast_simulation_is_its_slow_twins(seed, longest, filtering, registers):
    gates = random_gates(seed, 14, longest, registers)
    program = build_program(gates)
    stimuli = all_stimuli()
    domains = Domains(stimuli)
    found: dict[int, dict[int, NetLanes]] = {}
    order = [2, 0, 1]
    totals = run_program(program, domains, order, gates.output, filtering, found.__setitem__)
    before, after = all_transitions(BITS)
    for w in range(WEIGHTS):
        joules = 0.0
        for lane in range(stimuli.transition.size):
            pair = stimuli.transition[lane]
            activation = (int(before[pair]), int(after[pair]))
            partial = (int(stimuli.partial_before[lane]), int(stimuli.partial_after[lane]))
            trace = simulate_transition(gates, w, activation, partial, filtering)
            joules += trace.internal_j
            for net in gates.output:
                node = int(program.of_net[w, net])
                expected = (trace.before[net], trace.edges_fs[net])
                assert (edges(found[w][node], domains, lane) if node > 1 else (node, [])) == expected
        own = program.of_gate[w][program.of_gate[w] >= program.first] - program.first
        assert totals.internal_j[own, 0].sum() == near(joules / stimuli.transition.size, rel=1e-9)


@settings(max_examples=3, deadline=None)
@given(slew_s=st.floats(0, 80e-12), load_f=st.floats(0, 20e-15), filtering=st.sampled_from(list(Filter)))
@pytest.mark.parametrize("shape", ["product", "fused", "pipelined"])
def test_a_sensitised_delay_never_exceeds_the_static_delay(shape, slew_s, load_f, filtering):
    netlist = multiplier(3, partial=shape != "product", pipelined=shape == "pipelined")
    conditions = Conditions(input_slew_s=slew_s, clock_slew_s=slew_s, output_load_f=load_f)
    found = simulate_values(netlist, small_library(), conditions=conditions, filtering=filtering)
    static = static_delays(netlist, small_library(), conditions=conditions)
    rounding = 1e-15 * len(netlist.gates)  # half a femtosecond a gate at most
    assert np.all(found.delay_s <= static + rounding)
    assert np.all(found.delay_s[static > 0] >= 0)
    if shape == "product":
        assert found.delay_s.max() > 0.9 * static.max()


def test_threads_and_shares_do_not_change_anything():
    netlist = multiplier(4)
    one = simulate_values(netlist, small_library())
    two = simulate_values(netlist, small_library(), workers=3)
    alone = simulate_values(netlist, small_library(), np.array([-3], np.int16))
    np.testing.assert_array_equal(one.delay_s, two.delay_s)
    np.testing.assert_array_equal(one.energy_j, two.energy_j)
    place = int(np.flatnonzero(one.weights == -3)[0])
    assert alone.delay_s[0] == one.delay_s[place]
    assert alone.energy_j[0, 0] == near(one.energy_j[0, place], rel=1e-12)


def test_typical_conditions_can_be_simulated():
    conditions = typical_conditions(small_library())
    found = simulate_values(multiplier(2), small_library(), stimuli=activation_stimuli(2), conditions=conditions)
    assert found.delay_s[found.weights == 0] == 0
    assert np.all(found.percentile_s[-1] <= found.delay_s)
