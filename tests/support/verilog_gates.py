"""Evaluates the Verilog lines that the generator writes, so that a test needs no simulator.

Only what the generator writes is understood: wires with one expression, and instances of `fa` and `ha`.
"""

import re
from collections.abc import Mapping, Sequence

import numpy as np

from haloquant.circuits.rtl.adder_trees import ONE, ZERO, GateWriter, Net, Row

Values = dict[Net, np.ndarray]

_WIRE = re.compile(r"wire (\w+) = (.+);")
_ADDER = re.compile(r"wire \w+, \w+; (fa|ha) \w+ \((.+)\);")
_OPERATIONS = {"&": np.logical_and, "|": np.logical_or, "^": np.logical_xor}


def port_values(name: str, width: int, numbers: np.ndarray) -> Values:
    """The bits of a port for many numbers, two's complement."""
    single = {name: numbers.astype(np.int64) & 1 == 1} if width == 1 else {}
    return single or {f"{name}[{i}]": numbers.astype(np.int64) >> i & 1 == 1 for i in range(width)}


def evaluate(lines: Sequence[str], inputs: Mapping[Net, np.ndarray]) -> Values:
    """All nets of a module body, in the order of its lines; an unknown form of a line is a failure."""
    size = len(next(iter(inputs.values())))
    nets: Values = {**inputs, ZERO: np.zeros(size, bool), ONE: np.ones(size, bool)}
    for line in lines:
        if wire := _WIRE.fullmatch(line.strip()):
            nets[wire[1]] = _expression(wire[2], nets)
        elif adder := _ADDER.fullmatch(line.strip()):
            pins = dict(re.findall(r"\.(\w+)\(([^()]+)\)", adder[2]))
            bits = [nets[pins[pin]] for pin in ("a", "b", "c") if pin in pins]
            assert len(bits) == (3 if adder[1] == "fa" else 2), line
            total = np.sum(bits, axis=0)
            nets[pins["s"]], nets[pins["co"]] = total & 1 == 1, total >= 2
        else:
            raise AssertionError(f"no line of the generator: {line}")
    return nets


def evaluate_writer(writer: GateWriter, inputs: Mapping[Net, np.ndarray]) -> Values:
    """All nets of what a writer has collected."""
    return evaluate(writer.lines, inputs)


def number(nets: Sequence[Net], values: Values) -> np.ndarray:
    """The unsigned number of some nets, least significant first."""
    return np.sum([values[net].astype(np.int64) << i for i, net in enumerate(nets)], axis=0)


def sum_of_rows(rows: Sequence[Row], values: Values, width: int) -> np.ndarray:
    """The sum of rows of bits modulo 2**width."""
    return sum(values[net].astype(np.int64) << at for row in rows for at, net in row.items()) & (1 << width) - 1


def signed_operands(bits: int, others: int) -> tuple[np.ndarray, np.ndarray]:
    """Every pair of two's-complement numbers of two widths."""
    first = np.arange(-(1 << bits - 1), 1 << bits - 1)
    second = np.arange(-(1 << others - 1), 1 << others - 1)
    return np.repeat(first, second.size), np.tile(second, first.size)


def _expression(text: str, nets: Values) -> np.ndarray:
    if choice := re.fullmatch(r"(\S+) \? (\S+) : (\S+)", text):
        return np.where(nets[choice[1]], nets[choice[2]], nets[choice[3]])
    if two := re.fullmatch(r"(\S+) ([&|^]) (\S+)", text):
        return _OPERATIONS[two[2]](nets[two[1]], nets[two[3]])
    if every := re.fullmatch(r"\|\{(.+)\}", text):
        return np.any([nets[net] for net in every[1].split(", ")], axis=0)
    if text.startswith("~"):
        return ~nets[text[1:]]
    raise AssertionError(f"no expression of the generator: {text}")
