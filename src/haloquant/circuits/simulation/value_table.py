"""`simulate_values` computes the sensitised delay and the energy of every weight value by gate-level timing simulation.

Static timing gives the slews and loads for each weight. `annotation` reads the delay and energy of every arc at these.
`program` shares equal gates between weights, and `engine` simulates them with their glitches. All inputs change at time
0, from a settled state.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int16, Int32

from haloquant.circuits.liberty.records import Library
from haloquant.circuits.netlist.parser import Netlist, net_loads
from haloquant.circuits.ports import weight_pins, weight_values
from haloquant.circuits.simulation.annotation import StaticPass, annotate_gates
from haloquant.circuits.simulation.engine import Domains, NetLanes, run_program
from haloquant.circuits.simulation.leakage import leakage_w
from haloquant.circuits.simulation.program import Program, build_program
from haloquant.circuits.simulation.stimuli import Stimuli, default_stimuli
from haloquant.circuits.simulation.timed_gates import TimedGates
from haloquant.circuits.simulation.waveform_lanes import take_latest
from haloquant.circuits.simulation.waveforms import Filter, Waveforms
from haloquant.circuits.timing.conditions import Conditions
from haloquant.circuits.timing.static_timing import analyze_timing
from haloquant.errors import NetlistError
from haloquant.units import FEMTO

PERCENTILES = (50.0, 90.0, 99.0, 99.9)


@dataclass(frozen=True, eq=False, slots=True)
class DynamicTable:
    """The results of the simulation for every weight value.

    An operation is one activation transition, with its partial sums if the MAC adds one. Means are over each
    distribution `d` of the stimuli. Energies are for one operation, without leakage.
    """

    weights: Int16[np.ndarray, " w"]
    distributions: tuple[str, ...]
    delay_s: Float64[np.ndarray, " w"]  # last edge at a path end plus setup, worst transition; 0 if no end moves
    percentiles: tuple[float, ...]
    percentile_s: Float64[np.ndarray, "q w"]  # percentiles of the last edge, over the first distribution
    toggles: Float64[np.ndarray, "d w"]  # number of edges of all gate outputs
    switching_j: Float64[np.ndarray, "d w"]  # for the loads of gate outputs, 1/2 C V^2 for each edge
    internal_j: Float64[np.ndarray, "d w"]  # inside the cells, from the library
    clock_j: float  # at the clock pins of the registers, in one cycle
    input_j: Float64[np.ndarray, " d"]  # for the loads of the activation and partial-sum pins; not in `energy_j`
    leakage_w: Float64[np.ndarray, " w"]  # mean over the activation values

    @property
    def energy_j(self) -> Float64[np.ndarray, "d w"]:
        """The sum of switching, internal and clock energy."""
        return self.switching_j + self.internal_j + self.clock_j


def simulate_values(
    netlist: Netlist,
    library: Library,
    weights: Int16[np.ndarray, " w"] | None = None,
    stimuli: Stimuli | None = None,
    conditions: Conditions | None = None,
    *,
    filtering: Filter = Filter.INERTIAL,
    workers: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> DynamicTable:
    """Simulate a MAC for every weight value over all stimuli.

    Args:
        netlist: the mapped MAC.
        library: cells at the corner to simulate at.
        weights: the weight values; if None, all that the port can hold, ascending.
        stimuli: the transitions; if None, those of `stimuli.default_stimuli`: every pair of activations once, or drawn
            lanes with a Gaussian model of the partial sums.
        conditions: boundary conditions, as in `static_timing.static_delays`; all zero if None.
        filtering: the treatment of pulses shorter than the delay of a gate.
        workers: number of threads; each simulates a part of the weights.
        progress: called with (number of finished weights, number of weights).

    Raises:
        NetlistError: If a weight does not fit the port, a gate has more than six inputs, or the MAC adds a partial sum
            and the stimuli have none.
    """
    weights = weight_values(netlist.ports) if weights is None else weights
    stimuli = stimuli or default_stimuli(netlist.ports.activation_bits, netlist.partial_net.size)
    gates = annotate_netlist(netlist, library, weights, conditions)
    _check(netlist, stimuli)
    program = build_program(gates)
    results = _Results(gates, program, stimuli, progress)
    parts = _split_weights(weights, netlist, max(workers, 1))
    with ThreadPoolExecutor(len(parts)) as pool:
        list(pool.map(lambda part: results.run(part, filtering), parts))
    return results.table(weights, leakage_w(netlist, library, weights))


def annotate_netlist(
    netlist: Netlist, library: Library, weights: Int16[np.ndarray, "w *products"], conditions: Conditions | None
) -> TimedGates:
    """Time the netlist statically and return it with the delays and energies for every weight value."""
    conditions = conditions or Conditions()
    timing = analyze_timing(netlist, library, weights, conditions)
    rise, fall = net_loads(netlist, library, conditions.output_load_f)
    slews = (timing.slew_s[:, 1].T, timing.slew_s[:, 0].T)
    static_pass = StaticPass(weight_pins(netlist.ports, weights), slews, (fall, rise), conditions)
    return annotate_gates(netlist, library, static_pass)


def _check(netlist: Netlist, stimuli: Stimuli) -> None:
    if netlist.partial_net.size and stimuli.partial_before is None:
        raise NetlistError(
            f"stimuli for netlist {netlist.name} must have partial sums, because it adds one; "
            "draw them with stimuli.with_partial_sums"
        )
    if stimuli.activation_bits != netlist.ports.activation_bits:
        raise NetlistError(
            f"stimuli for netlist {netlist.name} must have {netlist.ports.activation_bits} activation bits, "
            f"not {stimuli.activation_bits}"
        )


def _split_weights(weights: Int16[np.ndarray, " w"], netlist: Netlist, workers: int) -> list[list[int]]:
    """Split the indices of the weights among workers. Weights with equal low bits share most nodes, so they are
    adjacent.
    """
    pins = weight_pins(netlist.ports, weights)
    order = np.lexsort(pins.T[::-1]).tolist()  # the least significant bit counts most
    size = -(-len(order) // workers)
    return [order[i : i + size] for i in range(0, len(order), size)] or [[]]


class _Results:
    """Collects the results. Each worker writes only the columns of its own weights."""

    def __init__(
        self, gates: TimedGates, program: Program, stimuli: Stimuli, progress: Callable[[int, int], None] | None
    ) -> None:
        weights = program.of_gate.shape[0]
        self.gates, self.program, self.stimuli, self.progress = gates, program, stimuli, progress
        self.delay_fs = np.zeros(weights)
        self.percentile_fs = np.zeros((len(PERCENTILES), weights))
        distributions = len(stimuli.names)
        self.toggles = np.zeros((distributions, weights))
        self.switching = np.zeros((distributions, weights))
        self.internal = np.zeros((distributions, weights))
        self.done = 0

    def run(self, part: Sequence[int], filtering: Filter) -> None:
        domains = Domains(self.stimuli)
        wide = domains.result_domain(self.gates.partial.size > 0)
        probability = domains.probability(wide)[0]

        def visit(w: int, lanes: dict[int, NetLanes]) -> None:
            last = self._last_edges(domains, wide, w, lanes)
            self.delay_fs[w] = last.max(initial=0)
            self.percentile_fs[:, w] = weighted_percentiles(last, probability)
            self.done += 1
            if self.progress is not None:
                self.progress(self.done, self.delay_fs.size)

        totals = run_program(self.program, domains, part, self.gates.end, filtering, visit)
        for w in part:
            nodes = self.program.of_gate[w]
            held = nodes >= self.program.first
            own = nodes[held] - self.program.first
            driven = self.gates.switching_j[self.gates.output[held]]
            self.toggles[:, w] = totals.toggles[own].sum(axis=0)
            self.switching[:, w] = driven @ totals.toggles[own]
            self.internal[:, w] = totals.internal_j[own].sum(axis=0)

    def _last_edges(
        self, domains: Domains, wide: int, w: int, lanes: dict[int, NetLanes]
    ) -> Int32[np.ndarray, " lane"]:
        """Return the last edge at any path end, setup included (fs), in every lane of `wide`; 0 if no end moves."""
        latest = np.zeros(domains.lane_count(wide), np.int32)
        ends = {(int(self.program.of_net[w, net]), *setup) for net, setup in self._ends(w)}
        for node, fall, rise in ends:
            if node in lanes:
                net = lanes[node]
                last = last_edge_fs(net.waveforms, (fall, rise))
                take_latest(latest, last, net.ids, domains.lane_map(wide, net.domain))
        return latest

    def _ends(self, w: int) -> list[tuple[int, tuple[int, int]]]:
        setups = self.gates.setup_fs[w].tolist()
        return [(net, (fall, rise)) for net, (fall, rise) in zip(self.gates.end.tolist(), setups, strict=True)]

    def table(self, weights: Int16[np.ndarray, " w"], leakage: Float64[np.ndarray, " w"]) -> DynamicTable:
        return DynamicTable(
            weights=weights,
            distributions=self.stimuli.names,
            delay_s=self.delay_fs * FEMTO,
            percentiles=PERCENTILES,
            percentile_s=self.percentile_fs * FEMTO,
            toggles=self.toggles,
            switching_j=self.switching,
            internal_j=self.internal,
            clock_j=self.gates.clock_j,
            input_j=self._inputs(),
            leakage_w=leakage,
        )

    def _inputs(self) -> Float64[np.ndarray, " d"]:
        stimuli = self.stimuli
        energy = np.zeros(len(stimuli.names))
        for bit, net in enumerate(self.gates.activation):
            digit = stimuli.transition >> (2 * bit) & 3
            energy += self.gates.switching_j[net] * (stimuli.probability @ ((digit == 1) | (digit == 2)))
        if stimuli.partial_before is not None and stimuli.partial_after is not None:
            changed = stimuli.partial_before ^ stimuli.partial_after
            for bit, net in enumerate(self.gates.partial):
                energy += self.gates.switching_j[net] * (stimuli.probability @ (changed >> bit & 1))
        return energy


def last_edge_fs(waves: Waveforms, setup_fs: tuple[int, int] = (0, 0)) -> Int32[np.ndarray, " u"]:
    """Return the time (fs) of the last edge of each waveform plus the setup time of that edge; 0 without an edge."""
    last = np.zeros(waves.level.size, np.int32)
    edges = np.diff(waves.start)
    moves = edges > 0
    after = waves.level ^ (edges & 1)
    last[moves] = waves.times_fs[waves.start[1:][moves] - 1] + np.array(setup_fs, np.int32)[after[moves]]
    return last


def weighted_percentiles(
    values: Int32[np.ndarray, " lane"], probability: Float64[np.ndarray, " lane"]
) -> Float64[np.ndarray, " q"]:
    """Return for each of `PERCENTILES` the smallest value that is not exceeded with that probability."""
    order = np.argsort(values)
    below = np.cumsum(probability[order])
    at = np.searchsorted(below, np.array(PERCENTILES) / 100 * below[-1] * (1 - 1e-12))
    return values[order[np.minimum(at, values.size - 1)]].astype(np.float64)
