"""Gates with constants, and trees, evaluated line by line over their operands."""

import itertools

import numpy as np
import pytest

from haloquant.circuits.rtl.adder_trees import (
    ONE,
    ZERO,
    GateWriter,
    Tree,
    compress,
    constant_row,
    place_bits,
)
from support.verilog_gates import evaluate_writer, number, sum_of_rows

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
