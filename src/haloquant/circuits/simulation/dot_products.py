"""Energy of a dot-product element: mixtures of words in its products, and what each word adds to the mean.

The words of all products together decide what switches, so a table for each word alone would miss how glitches of one
product spread through the tree of all. Mixtures of words are simulated as the engine simulates weight values. The
energy of each word is the least-squares solution of energy(mixture) = sum of the energies of its words.
"""

from dataclasses import replace

import numpy as np
from jaxtyping import Float64, Int16

from haloquant.circuits.liberty.records import Library
from haloquant.circuits.netlist.logic_check import encode_partial_sums
from haloquant.circuits.netlist.parser import Netlist
from haloquant.circuits.ports import activation_levels, weight_values
from haloquant.circuits.simulation.engine import Domains, run_program
from haloquant.circuits.simulation.program import build_program
from haloquant.circuits.simulation.stimuli import Stimuli, gaussian_partial_sums
from haloquant.circuits.simulation.value_table import annotate_netlist
from haloquant.circuits.simulation.waveforms import Filter
from haloquant.circuits.timing.conditions import Conditions

MIXTURES = 64
LANES = 256
_ROWS = 128  # rows of the array, for the size of the partial sums
_EVEN = 0.25  # share of the words that are drawn evenly, so that rare ones are measured, too
_REACH = 3.0  # the largest word represents so many standard deviations of the weights


def mixture_energies(
    netlist: Netlist,
    library: Library,
    mixtures: Int16[np.ndarray, "k products"],
    conditions: Conditions | None = None,
    lanes: int = LANES,
    seed: int = 0,
) -> Float64[np.ndarray, " k"]:
    """Return the mean energy (J) of a clock cycle of the element for each mixture of words, without leakage.

    Args:
        netlist: the element.
        library: the cells at one corner.
        mixtures: the word of every product.
        conditions: boundary conditions; all zero if None.
        lanes: number of transitions. Activations before and after are drawn uniformly; partial sums come from
            `stimuli.gaussian_partial_sums` for an array of 128 rows.
        seed: seed of the draws.
    """
    return cycle_energies(netlist, library, mixtures, _stimuli(netlist, lanes, seed), conditions)


def cycle_energies(
    netlist: Netlist,
    library: Library,
    weights: Int16[np.ndarray, "k *products"],
    stimuli: Stimuli,
    conditions: Conditions | None = None,
) -> Float64[np.ndarray, " k"]:
    """Return the mean energy (J) of a clock cycle for each row of weights, without leakage.

    Args:
        netlist: an element that adds a partial sum.
        library: the cells at one corner.
        weights: the weights of each simulation.
        stimuli: transitions of all activation and partial-sum bits, in `edges`.
        conditions: boundary conditions; all zero if None.
    """
    gates = annotate_netlist(netlist, library, weights, conditions)
    inputs = np.concatenate([gates.activation, gates.partial])
    gates = replace(gates, activation=np.zeros(0, np.int32), partial=inputs)
    program = build_program(gates)
    domains = Domains(stimuli)
    count = len(weights)
    totals = run_program(program, domains, range(count), gates.end, Filter.INERTIAL, lambda _, __: None)
    energy = np.empty(count)
    for k in range(count):
        nodes = program.of_gate[k]
        held = nodes >= program.first
        own = nodes[held] - program.first
        switching = gates.switching_j[gates.output[held]] @ totals.toggles[own, 0]
        energy[k] = switching + totals.internal_j[own, 0].sum() + gates.clock_j
    return energy


def word_energies(
    netlist: Netlist, library: Library, conditions: Conditions | None = None
) -> tuple[Float64[np.ndarray, " w"], float]:
    """Return the energy (J) of one product for each word, and the rms error of their sums relative to the mean.

    An element of one product is simulated for each word. Others are simulated for 64 mixtures, drawn as often as
    Gaussian weights use the words.
    """
    words = weight_values(netlist.ports)
    if netlist.ports.products == 1:
        return mixture_energies(netlist, library, words[:, None], conditions, lanes=2048), 0.0
    mixtures = drawn_mixtures(words, netlist.ports.products)
    energy = mixture_energies(netlist, library, mixtures, conditions)
    counts = (mixtures[:, :, None] == words).sum(axis=1).astype(np.float64)
    mean = float(energy.mean()) / netlist.ports.products
    # A weak pull to the mean keeps words that are rare in the draw near it.
    pull = np.sqrt(0.1) * np.eye(words.size)
    found = np.linalg.lstsq(
        np.concatenate([counts, pull]), np.concatenate([energy, np.full(words.size, np.sqrt(0.1) * mean)]), rcond=None
    )[0]
    error = float(np.sqrt(np.mean((counts @ found - energy) ** 2)) / energy.mean())
    return found, error


def drawn_mixtures(words: Int16[np.ndarray, " w"], products: int, seed: int = 0) -> Int16[np.ndarray, "k products"]:
    """Return 64 mixtures of words: three quarters as often as Gaussian weights use each word, a quarter evenly."""
    sigma, random = float(np.abs(words).max()) / _REACH, np.random.default_rng(seed)
    drawn = random.normal(0.0, sigma, (MIXTURES, products))
    middle = (words[1:].astype(np.float64) + words[:-1]) / 2.0
    even = random.random(drawn.shape) < _EVEN
    return np.where(even, random.choice(words, drawn.shape), words[np.searchsorted(middle, drawn)])


def _stimuli(netlist: Netlist, lanes: int, seed: int) -> Stimuli:
    """Return drawn transitions of all activation and partial-sum bits."""
    ports, random = netlist.ports, np.random.default_rng(seed)
    half = 1 << (ports.activation_bits - 1)
    words = weight_values(ports)
    values, histogram = gaussian_partial_sums(_ROWS, float(np.abs(words).max()) / _REACH, half / 4.0, ports.sum_bits)
    levels = []
    for _ in range(2):
        activation = random.integers(-half, half, (lanes, ports.products))
        sums = random.choice(values, size=lanes, p=histogram / histogram.sum())
        partial = encode_partial_sums(sums, ports)[:, None] >> np.arange(ports.result_bits) & 1
        levels.append(np.concatenate([activation_levels(ports, activation), partial.astype(bool)], axis=1).T)
    edges = (levels[0] + 2 * levels[1].astype(np.uint8)).astype(np.uint8)
    share = np.full((1, lanes), 1.0 / lanes)
    return Stimuli(0, np.zeros(lanes, np.int32), share, ("drawn",), edges=edges)
