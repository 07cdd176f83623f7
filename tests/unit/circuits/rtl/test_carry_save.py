"""Products of two words, and the accumulator that adds them: all operands, gate by gate."""

import re

import numpy as np

from haloquant.circuits.rtl.adder_trees import GateWriter
from haloquant.circuits.rtl.carry_save import (
    accumulate_module,
    bypassed_modules,
    element_lines,
    element_result,
    one_digit_product,
)
from haloquant.circuits.rtl.partial_products import bits
from support.verilog_gates import evaluate, evaluate_writer, number, port_values

WIDE = 12


def test_one_digit_products_over_all_operands() -> None:
    writer = GateWriter()
    lower, upper = one_digit_product(writer, 4, bits("activation", 5), WIDE)
    words = {0b0000: 0, 0b0001: 1, 0b0010: 2, 0b0100: 4, 0b1001: -1, 0b1010: -2, 0b1100: -4}
    pins, activation = (grid.ravel() for grid in np.meshgrid(list(words), np.arange(-16, 16)))
    nets = evaluate_writer(writer, port_values("weight", 4, pins) | port_values("activation", 5, activation))
    found = number(lower, nets) + number(upper, nets)
    wanted = np.array([words[int(p)] for p in pins]) * activation
    assert np.array_equal(found % (1 << WIDE), wanted % (1 << WIDE))


def test_the_accumulator_adds_both_words_and_leaves_bit_0_of_the_carries_free() -> None:
    """Constants of the product are built in, and the bit of the partial sum that is always 0 is not read."""
    product = (["a[0]", "a[1]", "1'b1", "1'b1"], ["b", "1'b0", "1'b0", "1'b0"])
    text = accumulate_module(product, 4)
    body = re.search(r"\);\n(.*?)  assign total = \{(.*?)\};", text, re.DOTALL)
    assert body
    random = np.random.default_rng(0)
    x, y = random.integers(0, 8, 500), random.integers(0, 256, 500) & ~(1 << 4)
    nets = evaluate(body[1].splitlines(), port_values("x", 3, x) | port_values("y", 8, y))
    total = body[2].split(", ")[::-1]
    lower, upper = number(total[:4], nets), number(total[4:], nets)
    assert not (upper & 1).any()
    assert np.array_equal((lower + upper) % 16, ((x & 3) + 12 + (x >> 2) + (y & 15) + (y >> 4)) % 16)


def test_constant_bits_have_no_register() -> None:
    lines = element_lines((["p", "1'b1"], ["1'b0", "q"]), 2)
    assert lines[0] == "reg [1:0] product;" and "{q, p}" in lines[1]
    assert element_result(2) == ["sum[0]", "sum[1]", "1'b0", "sum[2]"]


def test_every_module_of_a_bypass_leaves_the_same_constants_above_the_product() -> None:
    text, (lower, upper) = bypassed_modules("both", "dadda", 12, 8, 24)
    assert re.findall(r"module (\w+) \(", text) == ["whole", "upper", "lone"]
    assert text.count("output [15:0] lower, output [15:0] upper") == 3
    assert (lower[16:], upper[16:]) == (["1'b1"] * 8, ["1'b0"] * 8)
