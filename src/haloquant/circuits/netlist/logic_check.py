"""Logic evaluation of a netlist on words of 64 operands, and the check that a MAC computes w * a + p."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from jaxtyping import Int16, Int64, UInt64

from haloquant.circuits.liberty.records import Cell, Library, Register
from haloquant.circuits.netlist.parser import Instances, Netlist, library_cells
from haloquant.circuits.number_formats import float8_advice, float8_patterns
from haloquant.circuits.ports import MacPorts, activation_levels, added_constants, weight_pins, weight_values
from haloquant.errors import NetlistError

_MAX_OPERANDS = 1 << 20  # with more pairs of weight and activation, this many are drawn at random
_RANDOM_ROUNDS = 2
_ONES = np.uint64(0xFFFFFFFFFFFFFFFF)
_EDGES = (0, -1, 1, "max", "min", 0x555555, -0x555556)


def check_mac(netlist: Netlist, library: Library, seed: int = 0) -> int:
    """Check that the netlist computes weight * activation + partial modulo the result's width, or saturated to it.

    All pairs of weight value and activation are tried (65,536 for 8x8), at most 2**20 of them. The first round takes
    edge values of the partial sum in turn: 0, -1, 1, the extremes, alternating bits. Two more rounds take random ones.

    Of a dot-product element all pairs are tried in each product in turn, with random ones in the other products.

    Returns:
        The number of operand triples that were tried.

    Raises:
        NetlistError: If a result is wrong; the message gives one counterexample.
    """
    ports = netlist.ports
    if ports.multiples:
        return _check_dot_product(netlist, library, seed)
    random = np.random.default_rng(seed)
    weight, activation = operand_pairs(ports, random)
    rounds = edge_sums(ports, weight.size, random, _RANDOM_ROUNDS)
    if ports.partial is None:
        rounds = [np.zeros(weight.size, dtype=np.int64)]
    for partial in rounds:
        result = evaluate_mac(netlist, library, weight, activation, partial)
        wanted = _expected(ports, weight, activation, partial)
        wrong = np.flatnonzero(result != wanted)
        if wrong.size:
            i = wrong[0]
            addend = f" + {partial[i]}" if ports.partial else ""
            results = [evaluate_mac(netlist, library, weight, activation, other) for other in rounds]
            advice = _advice(ports, weight, activation, rounds, results)
            raise NetlistError(
                f"{netlist.name} must compute weight * activation{' + partial' if addend else ''}, but gives "
                f"{weight[i]} * {activation[i]}{addend} = {result[i]}, not {wanted[i]} "
                f"({wrong.size:,} of {weight.size:,} operands wrong){advice}"
            )
    return weight.size * len(rounds)


def operand_pairs(
    ports: MacPorts, random: np.random.Generator
) -> tuple[Int16[np.ndarray, " n"], Int64[np.ndarray, " n"]]:
    """Return every pair of a weight value and an activation; of more than 2**20 pairs, as many drawn ones."""
    values = weight_values(ports)
    lowest = 0 if ports.unsigned_activation else -(1 << (ports.activation_bits - 1))
    activations = np.arange(lowest, lowest + (1 << ports.activation_bits), dtype=np.int64)
    if ports.activation_format != "integer":
        activations = float8_patterns(ports.activation_format).astype(np.int64)
    if values.size * activations.size <= _MAX_OPERANDS:
        return np.repeat(values, activations.size), np.tile(activations, values.size)
    return random.choice(values, _MAX_OPERANDS), random.choice(activations, _MAX_OPERANDS)


def edge_sums(ports: MacPorts, count: int, random: np.random.Generator, drawn: int) -> list[Int64[np.ndarray, " n"]]:
    """Return a round of edge values of the partial sum in turn, and `drawn` rounds of random ones."""
    low, high = -(1 << (ports.sum_bits - 1)), (1 << (ports.sum_bits - 1)) - 1
    edges = np.array([{"max": high, "min": low}.get(str(e), e) for e in _EDGES], dtype=np.int64)
    rounds = [np.resize(edges, (count + 1, edges.size)).T.ravel()[:count]]
    return rounds + [random.integers(low, high, count, endpoint=True) for _ in range(drawn)]


def _expected(
    ports: MacPorts,
    weight: Int16[np.ndarray, " n"],
    activation: Int64[np.ndarray, " n"],
    partial: Int64[np.ndarray, " n"],
) -> Int64[np.ndarray, " n"]:
    """Return what a MAC with these ports computes; of an activation only the bits of its pins count."""
    bits = ports.activation_bits
    pins = activation & ((1 << bits) - 1)
    exact = weight.astype(np.int64) * (pins if ports.unsigned_activation else _wrap(pins, bits)) + partial
    if ports.saturates:
        return exact.clip(-(1 << (ports.sum_bits - 1)), (1 << (ports.sum_bits - 1)) - 1)
    return _wrap(exact, ports.sum_bits)


def _advice(
    ports: MacPorts,
    weight: Int16[np.ndarray, " n"],
    activation: Int64[np.ndarray, " n"],
    partials: Sequence[Int64[np.ndarray, " n"]],
    results: Sequence[Int64[np.ndarray, " n"]],
) -> str:
    """Return which declarations would make all results right, or what to declare if none would."""
    for unsigned, saturates in ((True, False), (False, True), (True, True), (False, False)):
        other = replace(ports, unsigned_activation=unsigned, saturates=saturates and not ports.carry_save)
        pairs = zip(partials, results, strict=True)
        if all(np.array_equal(_expected(other, weight, activation, partial), result) for partial, result in pairs):
            names = ("unsigned_activation", "saturates")
            changed = [name for name in names if getattr(other, name) != getattr(ports, name)]
            told = " and ".join(f"{name} = {str(getattr(other, name)).lower()}" for name in changed)
            return f"; with {told} in the ports file all are right"
    if (ports.weight_bits, ports.activation_bits, ports.encoding) == (8, 8, "twos_complement"):
        told = float8_advice(weight, _wrap(activation, 8), partials, results, ports.sum_bits)
        if told:
            return f"; with {told} in the ports file all are right"
    return "; a MAC that computes something else must say unchecked = true in its ports file"


def _check_dot_product(netlist: Netlist, library: Library, seed: int) -> int:
    """Check an element of several products; result and errors as in `check_mac`."""
    ports, random = netlist.ports, np.random.default_rng(seed)
    values = weight_values(ports)
    half = 1 << (ports.activation_bits - 1)
    pairs = np.stack(np.meshgrid(values, np.arange(-half, half), indexing="ij"), axis=-1).reshape(-1, 2)
    low, high = -(1 << (ports.sum_bits - 1)), (1 << (ports.sum_bits - 1)) - 1
    for product in range(ports.products):
        weight = random.choice(values, (len(pairs), ports.products))
        activation = random.integers(-half, half, weight.shape)
        weight[:, product], activation[:, product] = pairs.T
        partial = random.integers(low, high, len(pairs), endpoint=True)
        result = evaluate_mac(netlist, library, weight, activation, partial)
        exact = (weight.astype(np.int64) * activation + added_constants(ports, weight)).sum(axis=1)
        wrong = np.flatnonzero(result != _wrap(exact + partial, ports.sum_bits))
        if wrong.size:
            i = wrong[0]
            raise NetlistError(
                f"{netlist.name} must add the products of weights and activations and their constants, but is wrong "
                f"for weights {weight[i].tolist()} and activations {activation[i].tolist()} "
                f"({wrong.size:,} of {len(pairs):,} operands wrong)"
            )
    return len(pairs) * ports.products


def evaluate_mac(
    netlist: Netlist,
    library: Library,
    weight: Int16[np.ndarray, "n *products"],
    activation: Int64[np.ndarray, "n *products"],
    partial: Int64[np.ndarray, " n"],
) -> Int64[np.ndarray, " n"]:
    """Return the signed result of each operand triple, after `latency` clock edges with constant operands.

    An element of several products takes one weight and one activation for each.

    Raises:
        NetlistError: If a weight does not fit the port, or a cell has no logic function.
    """
    ports = netlist.ports
    levels = np.zeros((netlist.nets, -(-len(weight) // 64)), dtype=np.uint64)
    levels[1] = _ONES
    levels[netlist.tied_net] = np.where(netlist.tied_value[:, None] > 0, _ONES, np.uint64(0))
    levels[netlist.weight_net] = _pack(weight_pins(ports, weight).T)
    levels[netlist.activation_net] = _pack(activation_levels(ports, activation).T)
    if ports.partial is not None:
        levels[netlist.partial_net] = _pack(_bits(encode_partial_sums(partial, ports), ports.result_bits))
    cells = library_cells(netlist, library)
    states = np.zeros((len(netlist.registers), levels.shape[1]), dtype=np.uint64)
    for edge in range(ports.latency + 1):
        if edge:
            states = _next_states(netlist.registers, netlist, cells, levels)
        _register_outputs(netlist, cells, levels, states)
        _evaluate_gates(netlist, cells, levels)
    result = levels[netlist.result_net]
    unpacked = np.unpackbits(result.view(np.uint8), axis=1, bitorder="little")[:, : len(weight)].astype(np.int64)
    places = np.arange(len(result)) % ports.sum_bits  # the two words of a carry-save result have the same bit weights
    return _wrap((unpacked << places[:, None]).sum(axis=0), ports.sum_bits)


def evaluate_truth_table(
    table: tuple[int, ...], inputs: Sequence[UInt64[np.ndarray, " words"]]
) -> UInt64[np.ndarray, " words"]:
    """Evaluate a truth table on words of 64 operands by Shannon expansion. In row r input i has the bit r >> i & 1."""
    if len(set(table)) == 1:
        return np.full(inputs[0].shape if inputs else (1,), _ONES if table[0] else 0, dtype=np.uint64)
    half = len(table) // 2
    low, high = table[:half], table[half:]
    last, rest = inputs[-1], inputs[:-1]
    if low == high:
        return evaluate_truth_table(low, rest)
    if not any(low):
        return last if all(high) else last & evaluate_truth_table(high, rest)
    if not any(high):
        return ~last if all(low) else ~last & evaluate_truth_table(low, rest)
    if all(low):
        return ~last | evaluate_truth_table(high, rest)
    if all(high):
        return last | evaluate_truth_table(low, rest)
    if all(x != y for x, y in zip(low, high, strict=True)):
        return last ^ evaluate_truth_table(low, rest)
    return (last & evaluate_truth_table(high, rest)) | (~last & evaluate_truth_table(low, rest))


def _evaluate_gates(netlist: Netlist, cells: Sequence[Cell], levels: UInt64[np.ndarray, "n words"]) -> None:
    gates = netlist.gates
    for g in range(len(gates)):
        kind, cell = netlist.kinds[gates.kind[g]], cells[gates.kind[g]]
        pins = dict(
            zip(kind.inputs, levels[gates.input_net[gates.input_start[g] : gates.input_start[g + 1]]], strict=True)
        )
        outputs = gates.output_net[gates.output_start[g] : gates.output_start[g + 1]]
        for pin, net in zip(kind.outputs, outputs, strict=True):
            if net >= 0:
                function = cell.pin(pin).function
                if function is None:
                    raise NetlistError(
                        f"cell {cell.name} must have a logic function for its output {pin}, but has none"
                    )
                levels[net] = evaluate_truth_table(tuple(function.table().tolist()), [pins[i] for i in function.inputs])


def _next_states(
    registers: Instances, netlist: Netlist, cells: Sequence[Cell], levels: UInt64[np.ndarray, "n words"]
) -> UInt64[np.ndarray, "r words"]:
    states = np.zeros((len(registers), levels.shape[1]), dtype=np.uint64)
    for r in range(len(registers)):
        kind, register = netlist.kinds[registers.kind[r]], _register(cells[registers.kind[r]])
        nets = registers.input_net[registers.input_start[r] : registers.input_start[r + 1]]
        pins = dict(zip(kind.inputs, levels[nets], strict=True))
        function = register.next_state
        states[r] = evaluate_truth_table(tuple(function.table().tolist()), [pins[i] for i in function.inputs])
    return states


def _register_outputs(
    netlist: Netlist,
    cells: Sequence[Cell],
    levels: UInt64[np.ndarray, "n words"],
    states: UInt64[np.ndarray, "r words"],
) -> None:
    registers = netlist.registers
    for r in range(len(registers)):
        kind, cell = netlist.kinds[registers.kind[r]], cells[registers.kind[r]]
        register = _register(cell)
        named = {register.state: states[r], register.inverted: ~states[r]}
        outputs = registers.output_net[registers.output_start[r] : registers.output_start[r + 1]]
        for pin, net in zip(kind.outputs, outputs, strict=True):
            function = cell.pin(pin).function
            if net >= 0 and function is not None:
                levels[net] = evaluate_truth_table(
                    tuple(function.table().tolist()), [named[i] for i in function.inputs]
                )


def _register(cell: Cell) -> Register:
    if cell.register is None:
        raise NetlistError(f"cell {cell.name} must be an edge-triggered register here, but is not")
    return cell.register


def encode_partial_sums(partial: Int64[np.ndarray, " n"], ports: MacPorts) -> Int64[np.ndarray, " n"]:
    """Return the bits of the partial-sum port for each partial sum.

    Without carry-save form these are the sum itself. In carry-save form they are two words that add up to the sum; the
    upper word is a hash of the sum, so that its bits look random. With registered partial sums its bit 0 is 0.
    """
    if not ports.carry_save:
        return partial
    mask = (1 << ports.sum_bits) - 1
    upper = (partial * 0x9E3779B1) & (mask ^ 1 if ports.partial_registered else mask)
    return (upper << ports.sum_bits) | ((partial - upper) & mask)


def _bits(values: Int64[np.ndarray, " n"], width: int) -> UInt64[np.ndarray, "bits n"]:
    return (values[None, :] >> np.arange(width)[:, None] & 1).astype(np.uint64)


def _pack(bits: np.ndarray) -> UInt64[np.ndarray, "bits words"]:
    padded = np.zeros((bits.shape[0], -(-bits.shape[1] // 64) * 64), dtype=np.uint8)
    padded[:, : bits.shape[1]] = bits
    return np.packbits(padded, axis=1, bitorder="little").view(np.uint64)


def _wrap(values: Int64[np.ndarray, " n"], width: int) -> Int64[np.ndarray, " n"]:
    if width == 64:
        return values
    half = 1 << (width - 1)
    return ((values + half) & ((1 << width) - 1)) - half
