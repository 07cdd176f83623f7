"""Dot-product elements: rows and sums of all operands of one product, and of drawn operands of several."""

import re

import numpy as np
import pytest

from haloquant.circuits.ports import activation_levels, added_constants, weight_pins, weight_values
from haloquant.circuits.rtl.dot_products import (
    DotSpec,
    dot_ports,
    dot_specs,
    generate_dot,
    multiples_verilog,
    sum_bits,
)
from haloquant.errors import NetlistError
from support.verilog_gates import Values, evaluate, number, port_values

WORDS = {
    "booth4": list(range(-8, 8)),
    "int4m": list(range(-8, 8)),
    "onedigit": [-8, -4, -2, -1, 0, 1, 2, 4, 8],
    "e2m1": [-12, -8, -6, -4, -3, -2, -1, 0, 1, 2, 3, 4, 6, 8, 12],
}


def registered_sum(spec: DotSpec, weight: np.ndarray, activation: np.ndarray) -> np.ndarray:
    """What the product registers hold, added up by place, for operands [n, products]."""
    ports, text = dot_ports(spec), generate_dot(spec)
    body = text.partition("module mac (")[2].partition(");\n")[2].partition("  reg ")[0]
    levels: Values = {}
    for name, pins in (("weight", weight_pins(ports, weight)), ("activation", activation_levels(ports, activation))):
        levels |= {f"{name}[{i}]": column for i, column in enumerate(pins.T)}
    nets = evaluate(body.splitlines(), levels)
    held = re.search(r"product <= \{(.*?)\};", text)
    reader = re.search(r"module accumulate.*?\n(.*?)endmodule", text, re.DOTALL)
    assert held and reader
    found = {f"x[{i}]": nets[net] for i, net in enumerate(reversed(held[1].split(", ")))}
    zero = {f"y[{i}]": np.zeros(len(weight), bool) for i in range(2 * spec.accumulator_bits)}
    lines = reader[1].splitlines()
    after = evaluate(lines[:-1], found | zero)
    total = re.search(r"total = \{(.*)\};", lines[-1])
    assert total
    words = total[1].split(", ")[::-1]
    width = spec.accumulator_bits
    return (number(words[:width], after) + number(words[width:], after)) % (1 << width)


@pytest.mark.parametrize("rows", WORDS)
def test_one_product_over_all_operands(rows) -> None:
    spec = DotSpec(rows, 1)
    assert weight_values(dot_ports(spec)).tolist() == WORDS[rows]
    weight, activation = (grid.ravel() for grid in np.meshgrid(WORDS[rows], np.arange(-128, 128)))
    found = registered_sum(spec, weight.astype(np.int16)[:, None], activation[:, None])
    constant = added_constants(dot_ports(spec), weight.astype(np.int16))
    assert np.array_equal(found, (weight * activation + constant) % (1 << 24))


@pytest.mark.parametrize("name", ["booth4x4-dot", "e2m1x8c4-dot", "int4mx16-dot", "onedigitx16c4-dot"])
def test_several_products_with_drawn_operands(name: str) -> None:
    spec, random = dot_specs()[name], np.random.default_rng(0)
    weight = random.choice(np.array(WORDS[spec.rows], np.int16), (3000, spec.products))
    activation = random.integers(-128, 128, weight.shape)
    weight[:2], activation[0], activation[1] = weight[:2].min(), -128, 127  # the largest sums of rows
    found = registered_sum(spec, weight, activation)
    exact = weight.astype(np.int64) * activation + added_constants(dot_ports(spec), weight)
    assert np.array_equal(found, exact.sum(axis=1) % (1 << 24))


def test_constants_by_hand() -> None:
    """-3 in E2M1: 128 x -3 of the unsigned activation, and 4095 for the twelve inverted bits of the row."""
    assert added_constants(dot_ports(DotSpec("e2m1")), np.array([-3, 0, 12], np.int16)).tolist() == [3711, 0, 1536]
    # -3 in Booth form: digits 1 and -1 of weight 4; the nine inverted bits of the second row are 4 x 511.
    assert added_constants(dot_ports(DotSpec("booth4")), np.array([-3], np.int16)).tolist() == [-384 + 2044]


def test_widths_by_hand() -> None:
    assert sum_bits(DotSpec("onedigit", 1)) == 11 and sum_bits(DotSpec("e2m1", 16)) == 16
    assert sum_bits(DotSpec("booth4", 1)) == 12  # 5 x 511 = 2555
    ports = dot_ports(DotSpec("int4m", 8))
    assert (ports.activation_pins, ports.weight_bits) == (8 + 10 + 11 + 11, 4 + 4 + 1)
    assert dot_ports(DotSpec("onedigit")).weight_bits == 5 and dot_ports(DotSpec("e2m1")).weight_bits == 2 + 4 + 1
    with pytest.raises(NetlistError, match=r"must fit 10 bits, not take 11$"):
        sum_bits(DotSpec("onedigit", 1, accumulator_bits=10))


def test_multiples_of_the_activation() -> None:
    text = multiples_verilog((1, 3, 5, 7))
    body = text.partition("module mac (")[2].partition(");\n")[2].partition("  always")[0]
    unsigned = np.arange(256)
    nets = evaluate(body.splitlines(), port_values("activation", 8, unsigned))
    registered = re.search(r"result <= \{(.*?)\};", text)
    assert registered
    held = registered[1].split(", ")[::-1]
    for multiple, width in ((1, 8), (3, 10), (5, 11), (7, 11)):
        assert np.array_equal(number(held[:width], nets), multiple * unsigned)
        held = held[width:]
    with pytest.raises(NetlistError, match=r"must be 1, 3, 5 or 7, not 9$"):
        multiples_verilog((1, 9))
