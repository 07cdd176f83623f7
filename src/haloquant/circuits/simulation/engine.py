"""Simulates the nodes of a program: each node once. Its waveforms are kept until their last reader is done."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float64, Int32

from haloquant.circuits.simulation.program import ONE, Node, Program
from haloquant.circuits.simulation.stimuli import Stimuli
from haloquant.circuits.simulation.waveform_lanes import (
    accumulate_totals,
    extend_keys,
    extend_keys_mapped,
    gather,
    number_keys_direct,
    number_keys_hashed,
)
from haloquant.circuits.simulation.waveforms import Filter, Waveforms, evaluate_gate, launch_register

_DIRECT = 1 << 20  # smaller keys are numbered with a table that has an entry for each key
_LARGEST_KEY = 1 << 62

# Waveforms of the four transitions of one input bit: stays 0, falls, rises, stays 1 (digit = before + 2 after).
_BIT = Waveforms(np.array([0, 1, 0, 1], np.uint8), np.array([0, 0, 1, 2, 2], np.int32), np.zeros(2, np.int32))


@dataclass(frozen=True, eq=False, slots=True)
class NetLanes:
    """One net over the lanes of a domain: its different waveforms, and the index of the waveform in each lane."""

    waveforms: Waveforms
    ids: np.ndarray  # unsigned, [lane of the domain]
    domain: int


@dataclass(eq=False)
class Domains:
    """The domains over which nodes are simulated. A domain is a set of lanes.

    It is either all transitions of a subset of the activation bits, or all lanes of the stimuli. A node that depends on
    only k activation bits is simulated over their 4**k transitions. The number of a domain is the mask of its
    activation bits; the bit above them means all lanes of the stimuli.
    """

    stimuli: Stimuli
    _maps: dict[tuple[int, int], Int32[np.ndarray, " lane"]] = field(default_factory=dict)
    _probability: dict[int, Float64[np.ndarray, "d lane"]] = field(default_factory=dict)

    def stimuli_domain(self) -> int:
        """Return the domain of all lanes of the stimuli, which contains all other domains."""
        return 1 << self.stimuli.activation_bits

    def result_domain(self, partial: bool) -> int:
        """Return the domain of a MAC's results: with a partial sum all lanes of the stimuli, else all activation
        bits.
        """
        return self.for_support(2 * self.stimuli_domain() - 1 if partial else self.stimuli_domain() - 1)

    def for_support(self, support: int) -> int:
        """Return the smallest domain for a node with this support."""
        drawn = 4 ** support.bit_count() > self.stimuli.transition.size  # the stimuli have fewer lanes
        return self.stimuli_domain() if drawn or support & self.stimuli_domain() else support

    def lane_count(self, domain: int) -> int:
        """Return the number of lanes of a domain."""
        return self.stimuli.transition.size if domain == self.stimuli_domain() else 4 ** domain.bit_count()

    def lane_map(self, wide: int, narrow: int) -> Int32[np.ndarray, " lane"]:
        """Return for every lane of `wide` the lane of `narrow`, a part of it, in which the bits of `narrow` are the
        same.
        """
        found = self._maps.get((wide, narrow))
        if found is None:
            bits = [i for i in range(self.stimuli.activation_bits) if wide == self.stimuli_domain() or wide >> i & 1]
            index = (
                self.stimuli.transition
                if wide == self.stimuli_domain()
                else np.arange(self.lane_count(wide), dtype=np.int32)
            )
            found = np.zeros(index.size, np.int32)
            if narrow == self.stimuli_domain():
                found = np.arange(index.size, dtype=np.int32)
            place = 0
            for position, bit in enumerate(bits):
                if narrow >> bit & 1:
                    found |= (index >> (2 * position) & 3) << (2 * place)
                    place += 1
            self._maps[wide, narrow] = found
        return found

    def probability(self, domain: int) -> Float64[np.ndarray, "d lane"]:
        """Return the probability of every lane of a domain, for each distribution."""
        found = self._probability.get(domain)
        if found is None:
            if domain == self.stimuli_domain():
                found = self.stimuli.probability
            else:
                lanes = self.lane_map(self.stimuli_domain(), domain)
                rows = [np.bincount(lanes, row, self.lane_count(domain)) for row in self.stimuli.probability]
                found = np.stack(rows)
            self._probability[domain] = found
        return found


class Engine:
    """Simulates single nodes. It holds scratch memory, so each thread needs its own engine."""

    def __init__(self, program: Program, domains: Domains, filtering: Filter) -> None:
        self.program = program
        self.domains = domains
        self.filtering = filtering
        most = max(domains.lane_count(domains.stimuli_domain()), 4**domains.stimuli.activation_bits)
        self._ids = np.uint16 if most <= 1 << 16 else np.uint32
        self._keys = np.empty(most, np.int64)
        self._number = np.empty(most, np.int32)
        self._lane_of = np.empty(most, np.int32)
        self._direct = np.full(_DIRECT, -1, np.int32)
        self._hashed = np.full(1 << max(2 * most - 1, 1).bit_length(), -1, np.int32)
        self._counted = np.empty(most)
        self._out_level = np.empty(most, np.uint8)
        self._out_start = np.empty(most + 1, np.int32)
        self._out_times = np.empty(1 << 20, np.int32)

    def inputs(self) -> dict[int, NetLanes]:
        """Return the waveforms of the activation and partial-sum bits, by node number."""
        stimuli = self.domains.stimuli
        found: dict[int, NetLanes] = {}
        for bit in range(stimuli.activation_bits):
            found[2 + bit] = NetLanes(_BIT, np.arange(4).astype(self._ids), 1 << bit)
        partial_bits = self.program.first - 2 - stimuli.activation_bits
        for bit, ids in enumerate(stimuli.partial_edges(partial_bits)):
            found[2 + stimuli.activation_bits + bit] = NetLanes(
                _BIT, ids.astype(self._ids), self.domains.stimuli_domain()
            )
        return found

    def evaluate(self, node: Node, inputs: list[NetLanes]) -> tuple[NetLanes, Float64[np.ndarray, "d 2"]]:
        """Simulate one node.

        Returns:
            The output, and for each distribution the mean number of output edges and the mean internal energy (J).
        """
        domain = self.domains.for_support(node.support)
        lanes = self.domains.lane_count(domain)
        count = self._number_combinations(inputs, domain, lanes)
        lane_of = self._lane_of[:count]
        shown = np.empty((len(inputs), count), np.int32)
        row = 0
        for pin, net in enumerate(inputs):
            lane = lane_of if net.domain == domain else self.domains.lane_map(domain, net.domain)[lane_of]
            shown[pin] = net.ids[lane]
            shown[pin] += row
            row += net.waveforms.level.size
        level = np.concatenate([net.waveforms.level for net in inputs])
        times = np.concatenate([net.waveforms.times_fs for net in inputs])
        start = np.empty((row, 2), np.int32)
        row = offset = 0
        for net in inputs:
            waves = net.waveforms.level.size
            np.add(net.waveforms.start[:-1], offset, out=start[row : row + waves, 0])
            np.add(net.waveforms.start[1:], offset, out=start[row : row + waves, 1])
            row += waves
            offset += net.waveforms.times_fs.size
        out_id = np.empty(count, np.int32)
        energy = np.empty(count)
        table = self._hashed[: 1 << max(2 * count - 1, 1).bit_length()]
        if self.program.register[node.gate]:
            waves = launch_register(
                *(shown, level, start, times, np.uint64(node.truth), node.delay_fs, node.internal_j, node.hidden_j),
                *(out_id, self._out_level, self._out_start, self._out_times, energy),
            )
            return self._finish(domain, lanes, out_id, waves, energy)
        while True:
            waves = evaluate_gate(
                *(shown, level, start, times, np.uint64(node.truth), node.delay_fs, node.internal_j, node.hidden_j),
                *(self.filtering == Filter.SAMPLED, table),
                *(out_id, self._out_level, self._out_start, self._out_times, energy),
            )
            if waves >= 0:
                break
            self._out_times = np.empty(2 * self._out_times.size, np.int32)
        return self._finish(domain, lanes, out_id, waves, energy)

    def _finish(
        self, domain: int, lanes: int, out_id: np.ndarray, waves: int, energy: np.ndarray
    ) -> tuple[NetLanes, Float64[np.ndarray, "d 2"]]:
        """Copy the output from the scratch memory, and compute the mean number of edges and the mean energy."""
        number = self._number[:lanes]
        out_start = self._out_start[: waves + 1].copy()
        waveforms = Waveforms(self._out_level[:waves].copy(), out_start, self._out_times[: out_start[-1]].copy())
        probability = self.domains.probability(domain)
        totals = np.empty((probability.shape[0], 2))
        accumulate_totals(number, probability, out_id, out_start, energy, self._counted, totals)
        ids = np.empty(lanes, self._ids)
        gather(out_id, number, ids)
        return NetLanes(waveforms, ids, domain), totals

    def _number_combinations(self, inputs: list[NetLanes], domain: int, lanes: int) -> int:
        """Number the different combinations of input waveforms, and return their count."""
        keys = self._keys[:lanes]
        keys[:] = 0
        size = 1
        for net in inputs:
            radix = net.waveforms.level.size
            if size * radix > _LARGEST_KEY:
                size = self._number_keys(keys, size)
                keys[:] = self._number[:lanes]
            if net.domain == domain:
                extend_keys(keys, net.ids, radix)
            else:
                extend_keys_mapped(keys, net.ids, self.domains.lane_map(domain, net.domain), radix)
            size *= radix
        return self._number_keys(keys, size)

    def _number_keys(self, keys: np.ndarray, size: int) -> int:
        if size <= _DIRECT:
            return number_keys_direct(keys, self._direct, self._number, self._lane_of)
        return number_keys_hashed(keys, self._hashed, self._number, self._lane_of)


@dataclass(frozen=True, eq=False, slots=True)
class NodeTotals:
    """Mean output edges and mean internal energy (J) per operation, for each node of the program and distribution."""

    toggles: Float64[np.ndarray, "node d"]
    internal_j: Float64[np.ndarray, "node d"]


def run_program(
    program: Program,
    domains: Domains,
    order: Iterable[int],
    results: Int32[np.ndarray, " r"],
    filtering: Filter,
    visit: Callable[[int, dict[int, NetLanes]], None],
) -> NodeTotals:
    """Simulate every node that the given weights need, once.

    Args:
        program: the nodes.
        domains: the domains.
        order: indices of weights. Weights that share many nodes should be adjacent, so that fewer waveforms are kept.
        results: the nets whose nodes are passed to `visit`.
        filtering: the treatment of short pulses.
        visit: called as `visit(w, lanes by node)` when all nodes of weight w are done. Constant nodes are left out.
    """
    engine = Engine(program, domains, filtering)
    live = engine.inputs()
    order = list(order)
    needed = [np.unique(np.concatenate([program.of_gate[w], program.of_net[w]])) for w in order]
    needed = [nodes[nodes >= program.first] for nodes in needed]
    shown = [[int(n) for n in np.unique(program.of_net[w, results]) if n > ONE] for w in order]
    uses = np.zeros(program.first + len(program.nodes), np.int64)
    for node in np.unique(np.concatenate([*needed, np.zeros(0, np.int32)])):
        for source in set(program.nodes[node - program.first].inputs):
            uses[source] += 1
    for nodes in shown:
        for node in nodes:
            uses[node] += 1
    uses[: program.first] = np.iinfo(np.int64).max  # inputs are never released
    distributions = domains.stimuli.probability.shape[0]
    totals = np.zeros((len(program.nodes), distributions, 2))
    done = np.zeros(program.first + len(program.nodes), bool)
    for position, w in enumerate(order):
        for number in needed[position]:
            if done[number]:
                continue
            done[number] = True
            node = program.nodes[number - program.first]
            lanes, totals[number - program.first] = engine.evaluate(node, [live[source] for source in node.inputs])
            if uses[number]:
                live[int(number)] = lanes
            for source in set(node.inputs):
                _release(live, uses, source)
        visit(w, {node: live[node] for node in shown[position]})
        for node in shown[position]:
            _release(live, uses, node)
    return NodeTotals(totals[:, :, 0], totals[:, :, 1])


def _release(live: dict[int, NetLanes], uses: np.ndarray, node: int) -> None:
    uses[node] -= 1
    if not uses[node]:
        del live[node]
