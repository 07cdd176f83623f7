"""Reference implementation of the simulation: one transition and one weight, with an event queue.

It does not share nodes or fold constants. It reads the same delays and energies (`TimedGates`) as the compiled engine,
and must produce the same edges.
"""

import heapq
from dataclasses import dataclass, field

from haloquant.circuits.simulation.reference.constants import influential_pins, known_levels
from haloquant.circuits.simulation.timed_gates import TimedGates
from haloquant.circuits.simulation.waveforms import NEVER, Filter


@dataclass(slots=True)
class _Gate:
    pins: list[int]  # nets
    output: int
    truth: int
    slot: int
    causes: list[bool]  # whether each pin can change the output, given the constants
    register: bool = False
    minterm: int = 0
    value: int = 0  # value of the function at the current time
    level: int = 0  # level of the output at the current time
    due: tuple[int, int] | None = None  # the pending event: its number, and the slot that caused it


@dataclass(slots=True)
class Trace:
    """The result of one transition: levels before it, edges of every net in time order (fs), internal energy (J)."""

    before: list[int]
    edges_fs: list[list[int]] = field(default_factory=list)
    internal_j: float = 0.0


def simulate_transition(
    gates: TimedGates,
    weight: int,
    activation: tuple[int, int],
    partial: tuple[int, int] = (0, 0),
    filtering: Filter = Filter.INERTIAL,
) -> Trace:
    """Simulate one transition.

    Args:
        gates: the netlist with its delays.
        weight: index of the weight value (row of `gates.delay_fs`).
        activation: activation before and after.
        partial: partial sum before and after.
        filtering: the treatment of short pulses.
    """
    delay, internal, hidden = gates.delay_fs[weight], gates.internal_j[weight], gates.hidden_j[weight]
    level = [0] * gates.nets
    for net, value in zip(gates.constant, gates.level[weight], strict=True):
        level[net] = int(value)
    after = dict[int, int]()
    for nets, (old, new) in ((gates.activation, activation), (gates.partial, partial)):
        for bit, net in enumerate(nets):
            level[net] = old >> bit & 1
            after[int(net)] = new >> bit & 1
    settled = list(level)
    for net, value in after.items():
        settled[net] = value
    later = _settled(gates, weight, settled)
    circuit = _settled(gates, weight, level)
    readers: list[list[tuple[int, int]]] = [[] for _ in level]
    for index, gate in enumerate(circuit):
        for pin, net in enumerate(gate.pins):
            readers[net].append((index, pin))
    trace = Trace(list(level), [[] for _ in level])
    events: list[tuple[int, int, int, int]] = []  # time, order, gate, cause
    changing = [net for net, value in after.items() if value != level[net]]
    now, order = 0, 0
    for index, (gate, final) in enumerate(zip(circuit, later, strict=True)):
        if gate.register and gate.value != final.value:
            slots = [gate.slot + (pin << len(gate.pins)) + final.minterm for pin in range(len(gate.pins))]
            cause = min(
                (slots[pin] for pin in range(len(slots)) if gate.causes[pin]), key=lambda slot: int(delay[slot])
            )
            gate.value = final.value
            gate.due = (order, cause)
            heapq.heappush(events, (int(delay[cause]), order, index, cause))
            order += 1
    while changing or events:
        if not changing:
            now = events[0][0]
        shown: list[int] = []
        while events and events[0][0] == now:
            _, number, index, cause = heapq.heappop(events)
            gate = circuit[index]
            if filtering is Filter.INERTIAL and (gate.due is None or gate.due[0] != number):
                continue  # the event was cancelled
            if gate.value != gate.level:
                gate.level = gate.value
                trace.internal_j += float(internal[cause])
                shown.append(gate.output)
            gate.due = None
        changing += shown
        touched: dict[int, list[int]] = {}
        for net in changing:
            level[net] ^= 1
            trace.edges_fs[net].append(now)
            for index, pin in readers[net]:
                touched.setdefault(index, []).append(pin)
        changing = []
        for index, pins in sorted(touched.items()):
            gate = circuit[index]
            for pin in pins:
                gate.minterm ^= 1 << pin
            slots = {pin: gate.slot + (pin << len(gate.pins)) + gate.minterm for pin in sorted(pins)}
            trace.internal_j += sum(float(hidden[slot]) for slot in slots.values())
            value = gate.truth >> gate.minterm & 1
            if gate.register or value == gate.value:
                continue
            gate.value = value
            if filtering is Filter.INERTIAL and value == gate.level:
                gate.due = None
                continue
            cause = min(slots, key=lambda pin: int(delay[slots[pin]]) if gate.causes[pin] else NEVER)
            gate.due = (order, slots[cause])
            heapq.heappush(events, (now + int(delay[slots[cause]]), order, index, slots[cause]))
            order += 1
    return trace


def _settled(gates: TimedGates, weight: int, level: list[int]) -> list[_Gate]:
    """Return the gates in the settled state for the given input levels, and set `level` of every net."""
    known = known_levels(gates, weight)
    circuit: list[_Gate] = []
    for g in range(len(gates.names)):
        nets = [int(net) for net in gates.inputs[g, : gates.pins[g]]]
        truth, output = int(gates.truth[g]), int(gates.output[g])
        minterm = sum(level[net] << pin for pin, net in enumerate(nets))
        value = truth >> minterm & 1
        level[output] = value
        causes = influential_pins(gates, g, known)
        register = bool(gates.register[g])
        circuit.append(_Gate(nets, output, truth, int(gates.slot[g]), causes, register, minterm, value, value))
    return circuit
