"""Gates with constants, trees and adders, evaluated line by line over their operands."""

import itertools

import numpy as np
import pytest

from haloquant.circuits.rtl.adder_trees import (
    ONE,
    ZERO,
    Adder,
    GateWriter,
    Tree,
    add,
    compress,
    constant_row,
    place_bits,
)
from haloquant.circuits.rtl.partial_products import bits
from support.verilog_gates import evaluate_writer, number, port_values, sum_of_rows

BOTH = np.array([False, True])


@pytest.mark.parametrize("chosen", list(itertools.product(["a", "b", "c", ZERO, ONE], repeat=3)))
def test_gates_that_fold_constants_keep_their_function(chosen: tuple[str, str, str]) -> None:
    grid = np.array(list(itertools.product(BOTH, repeat=3)))
    inputs = {name: grid[:, i] for i, name in enumerate("abc")}
    writer = GateWriter()
    x, y, z = chosen
    made = [writer.and_(x, y), writer.or_(x, y), writer.xor(x, y), writer.invert(x), writer.mux(x, y, z)]
    half, full = writer.half_adder(x, y), writer.full_adder(x, y, z)
    nets = evaluate_writer(writer, inputs)
    p, q, r = (nets[net] for net in chosen)
    wanted = [p & q, p | q, p ^ q, ~p, np.where(p, q, r)]
    assert [nets[net].tolist() for net in made] == [value.tolist() for value in wanted]
    assert number(half, nets).tolist() == (p.astype(int) + q).tolist()
    assert number(full, nets).tolist() == (p.astype(int) + q + r).tolist()


def test_an_adder_with_constant_operands_needs_no_gate() -> None:
    writer = GateWriter()
    assert writer.full_adder(ZERO, "a", ZERO) == ("a", ZERO)
    assert writer.half_adder("a", ZERO) == ("a", ZERO)
    assert writer.full_adder(ONE, "a", ONE) == ("a", ONE)
    assert writer.full_adder(ONE, ONE, ONE) == (ONE, ONE)
    assert writer.lines == []


@pytest.mark.parametrize("adder", ["rca", "bk", "ks"])
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


@pytest.mark.parametrize("tree", ["array", "dadda"])
@pytest.mark.parametrize("heights", [(1, 1, 1, 1), (2, 0, 3, 1), (5, 4, 3, 2, 1), (7, 7, 7, 7), (1, 9, 1, 9)])
def test_trees_keep_the_sum_of_the_rows(tree: Tree, heights: tuple[int, ...]) -> None:
    """Each column has as many bits as `heights` says; some of them are constants."""
    width, random = len(heights) + 2, np.random.default_rng(sum(heights))
    rows = [{at: f"r{r}c{at}" for at, height in enumerate(heights) if r < height} for r in range(max(heights))]
    rows.append(dict(constant_row(0b101, width)))
    inputs = {net: random.integers(0, 2, 500) == 1 for row in rows[:-1] for net in row.values()}
    writer = GateWriter()
    two = compress(writer, rows, width, tree)
    nets = evaluate_writer(writer, inputs)
    assert [len(row) for row in two] == [width, width]
    found = (number(two[0], nets) + number(two[1], nets)) % (1 << width)
    assert np.array_equal(found, sum_of_rows(rows, nets, width))


@pytest.mark.parametrize("size", [3, 4, 8])
def test_dadda_uses_as_few_adders_as_published(size: int) -> None:
    """N x N bits take N**2 - 4 N + 3 full adders and N - 1 half adders (Townsend, Swartzlander, Abraham, SPIE 2003)."""
    rows = [{i + j: f"r{i}c{j}" for j in range(size)} for i in range(size)]
    writer = GateWriter()
    compress(writer, rows, 2 * size, "dadda")
    cells = [line.split("; ")[1][:2] for line in writer.lines]
    assert (cells.count("fa"), cells.count("ha")) == (size**2 - 4 * size + 3, size - 1)


def test_a_constant_is_its_bits_modulo_the_width() -> None:
    assert constant_row(13, 8) == {0: ONE, 2: ONE, 3: ONE}
    assert constant_row(-1, 3) == {0: ONE, 1: ONE, 2: ONE}


def test_single_bits_fill_gaps_before_they_open_a_row() -> None:
    rows = [{0: "a", 1: "b"}, {0: "c"}]
    assert place_bits(rows, [(1, "x"), (1, "y"), (3, "z")]) == [{0: "a", 1: "b", 3: "z"}, {0: "c", 1: "x"}, {1: "y"}]
    assert rows == [{0: "a", 1: "b"}, {0: "c"}]
