"""The simulation program: one node for each different behaviour of a gate, over all weight values together.

A constant weight turns most gates into smaller ones, and the behaviour of a gate depends only on the constants in its
own input cone. For example, the first rows of an array multiplier behave the same for all weights with the same low
bits. So nodes are hash-consed: two weights share a node if the gate's function, its input nodes, its delays and its
energies are all equal. This is exact.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64, Int32

from haloquant.circuits.simulation.timed_gates import TimedGates
from haloquant.circuits.simulation.waveforms import NEVER

ZERO, ONE = 0, 1  # node numbers of the constants


@dataclass(frozen=True, eq=False, slots=True)
class Node:
    """One gate for some weight values, after constant folding. Tables are [pin, minterm] over the remaining pins."""

    gate: int
    inputs: tuple[int, ...]  # nodes
    truth: int
    delay_fs: Int32[np.ndarray, "pin m"]
    internal_j: Float64[np.ndarray, "pin m"]
    hidden_j: Float64[np.ndarray, "pin m"]
    support: int  # bit i: it depends on activation bit i; the next higher bit: it depends on the partial sum


@dataclass(frozen=True, eq=False, slots=True)
class Program:
    """All nodes in topological order, and the node of each net and gate for each weight.

    Nodes 0 and 1 are the constants. Then come the activation bits, the partial-sum bits and the gates; `nodes[i]` is
    node `first + i`. A gate with a constant output has a node without readers if its input edges cost energy.
    """

    first: int
    nodes: tuple[Node, ...]
    register: Bool[np.ndarray, " g"]
    of_net: Int32[np.ndarray, "w net"]  # the node that drives each net
    of_gate: Int32[np.ndarray, "w g"]  # the node with the energy of each gate; 0 if it has none


def build_program(gates: TimedGates) -> Program:
    """Fold the constants of each weight into the gates, and share equal nodes between weights."""
    weights = gates.delay_fs.shape[0]
    of_net = np.full((weights, gates.nets), -1, np.int32)
    of_gate = np.zeros((weights, gates.pins.size), np.int32)
    of_net[:, gates.constant] = gates.level
    of_net[:, gates.activation] = 2 + np.arange(gates.activation.size)
    of_net[:, gates.partial] = 2 + gates.activation.size + np.arange(gates.partial.size)
    first = 2 + gates.activation.size + gates.partial.size
    above = 1 << gates.activation.size
    support = [0, 0, *(1 << i for i in range(gates.activation.size)), *([above] * gates.partial.size)]
    nodes: list[Node] = []
    for gate in range(gates.pins.size):
        pins = int(gates.pins[gate])
        slots = slice(int(gates.slot[gate]), int(gates.slot[gate]) + (pins << pins))
        sources = of_net[:, gates.inputs[gate, :pins]]
        tables = (gates.delay_fs[:, slots], gates.internal_j[:, slots], gates.hidden_j[:, slots])
        seen: dict[bytes, tuple[int, int]] = {}
        rows: dict[bytes, tuple[int, int]] = {}
        for w in range(weights):
            row = sources[w].tobytes() + b"".join(table[w].tobytes() for table in tables)
            if row not in rows:
                delay, internal, hidden = (table[w] for table in tables)
                node = fold_constants(gate, sources[w], int(gates.truth[gate]), delay, internal, hidden, support)
                key = _key(node)
                if key not in seen:
                    number = first + len(nodes)
                    if node.inputs and (_varies(node) or node.hidden_j.any()):
                        nodes.append(node)
                        support.append(node.support)
                        seen[key] = (number if _varies(node) else node.truth & 1, number)
                    else:
                        seen[key] = (node.truth & 1, 0)
                rows[row] = seen[key]
            of_net[w, gates.output[gate]], of_gate[w, gate] = rows[row]
    return Program(first, tuple(nodes), gates.register, of_net, of_gate)


def fold_constants(
    gate: int,
    sources: Int32[np.ndarray, " pin"],
    truth: int,
    delay_fs: Int32[np.ndarray, " slot"],
    internal_j: Float64[np.ndarray, " slot"],
    hidden_j: Float64[np.ndarray, " slot"],
    support: list[int],
) -> Node:
    """Return the node of a gate without its constant pins.

    A pin that cannot change the output is kept only if some delay or energy depends on its level. Its own delay is then
    `NEVER`.
    """
    pins = sources.size
    shape = (pins,) + (2,) * pins  # axis p + 1 ... of the minterm, most significant pin first
    value = np.array([truth >> m & 1 for m in range(1 << pins)], np.uint8).reshape(shape[1:])
    tables = [delay_fs.reshape(shape), internal_j.reshape(shape), hidden_j.reshape(shape)]
    live = list(range(pins))
    for pin in range(pins - 1, -1, -1):
        if sources[pin] > ONE:
            continue
        value, tables = _fix_pin(value, tables, live, pin, int(sources[pin]))
    for pin in list(reversed(live)):
        axis = len(live) - 1 - live.index(pin)
        if np.array_equal(value.take(0, axis), value.take(1, axis)):
            idle = live.index(pin)
            others = [np.delete(table, idle, axis=0) for table in tables]
            same = all(np.array_equal(t.take(0, axis + 1), t.take(1, axis + 1)) for t in others)
            if same and not tables[2][idle].any():
                value, tables = _fix_pin(value, tables, live, pin, 0)
            else:
                tables[0] = tables[0].copy()
                tables[0][idle] = NEVER
    folded = value.ravel()
    size = (len(live), folded.size)
    inputs = tuple(int(sources[pin]) for pin in live)
    reach = 0
    for node in inputs:
        reach |= support[node]
    return Node(
        gate,
        inputs,
        sum(int(bit) << m for m, bit in enumerate(folded)),
        np.ascontiguousarray(tables[0].reshape(size)),
        np.ascontiguousarray(tables[1].reshape(size)),
        np.ascontiguousarray(tables[2].reshape(size)),
        reach,
    )


def _fix_pin(value, tables, live: list[int], pin: int, level: int):
    place = live.index(pin)
    axis = len(live) - 1 - place
    value = value.take(level, axis)
    tables = [np.delete(table, place, axis=0).take(level, axis + 1) for table in tables]
    live.remove(pin)
    return value, tables


def _varies(node: Node) -> bool:
    return node.truth not in (0, (1 << (1 << len(node.inputs))) - 1)


def _key(node: Node) -> bytes:
    header = np.array([node.truth & (1 << 63) - 1, node.truth >> 63, *node.inputs], np.int64).tobytes()
    return header + node.delay_fs.tobytes() + node.internal_j.tobytes() + node.hidden_j.tobytes()
