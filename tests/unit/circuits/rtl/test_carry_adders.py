"""Adders of two rows, evaluated line by line over their operands."""

import numpy as np
import pytest

from haloquant.circuits.rtl.adder_trees import ONE, ZERO, GateWriter
from haloquant.circuits.rtl.carry_adders import BLOCKS, PLAIN, Adder, add, adder_title
from haloquant.circuits.rtl.partial_products import bits
from support.verilog_gates import evaluate_writer, number, port_values


@pytest.mark.parametrize("adder", [*PLAIN, *BLOCKS])
@pytest.mark.parametrize("width", [1, 2, 3, 5])
def test_adders_add_every_pair_of_operands(adder: Adder, width: int) -> None:
    x, y, carry = (grid.ravel() for grid in np.meshgrid(np.arange(1 << width), np.arange(1 << width), [0, 1]))
    inputs = port_values("x", width, x) | port_values("y", width, y) | {"carry": carry == 1}
    for carry_in, arriving in (("carry", carry), (ZERO, 0)):
        writer = GateWriter()
        total = add(writer, adder, bits("x", width), bits("y", width), carry_in)
        found = number(total, evaluate_writer(writer, inputs))
        assert np.array_equal(found, (x + y + arriving) % (1 << width))


def test_brent_and_kung_take_fewer_gates_than_kogge_and_stone() -> None:
    """Kogge and Stone join at every place of each level, Brent and Kung only where a carry needs it."""
    gates = dict[str, int]()
    for adder in ("bk", "ks"):
        writer = GateWriter()
        add(writer, adder, bits("x", 16), bits("y", 16))
        gates[adder] = len(writer.lines)
    assert gates["bk"] < gates["ks"]


@pytest.mark.parametrize("adder", BLOCKS)
def test_blocks_add_words_of_several_blocks(adder: Adder) -> None:
    """16 bits are two to eight blocks: random operands, and carries through all blocks from either end."""
    random, all_ones = np.random.default_rng(0), (1 << 16) - 1
    edges = [0, 1, all_ones, 0x5555, 0xAAAA, 0x8000]
    pairs = np.array([(a, b) for a in edges for b in edges] + random.integers(0, 1 << 16, (2000, 2)).tolist())
    inputs = port_values("x", 16, pairs[:, 0]) | port_values("y", 16, pairs[:, 1])
    for carry_in, arriving in ((ZERO, 0), (ONE, 1)):
        writer = GateWriter()
        found = number(add(writer, adder, bits("x", 16), bits("y", 16), carry_in), evaluate_writer(writer, inputs))
        assert np.array_equal(found, (pairs.sum(axis=1) + arriving) & all_ones)


def test_selection_adds_all_blocks_but_the_first_twice_and_a_skip_none() -> None:
    adders = dict[str, int]()
    for adder in ("rca", "skip4", "sel4"):
        writer = GateWriter()
        add(writer, adder, bits("x", 16), bits("y", 16), "carry")
        adders[adder] = sum("; fa " in line or "; ha " in line for line in writer.lines)
    assert (adders["rca"], adders["skip4"]) == (16, 16)
    writer = GateWriter()
    add(writer, "sel4", bits("x", 16), bits("y", 16))
    twice = sum("; fa " in line or "; ha " in line for line in writer.lines)
    # The lowest bit of each copy has a constant carry: a half adder, or plain gates for the constant one.
    assert twice == 4 + 3 * (4 + 3)


def test_titles_name_the_kind_and_the_block() -> None:
    assert [adder_title(name) for name in ("rca", "bk", "ks", "skip3", "sel8")] == [
        "ripple", "Brent-Kung", "Kogge-Stone", "carry-skip in blocks of 3 bits", "carry-select in blocks of 8 bits",
    ]  # fmt: skip
