"""Modules around the adder tree: each multiplies the weights that it is for; exactly one is selected."""

import re

import numpy as np
import pytest

from haloquant.circuits.liberty.boolean_functions import parse_function
from haloquant.circuits.rtl.bypass import Bypass, bypass_modules, bypass_partitions, selection_lines
from support.verilog_gates import evaluate, number, port_values

DIGIT_PINS, DIGIT_VALUES = np.array([0b000, 0b001, 0b010, 0b101, 0b110]), np.array([0, 1, 2, -1, -2])


def _module(text: str, name: str) -> tuple[list[str], list[str]]:
    """The lines and the nets of the product, least significant first, of one module of the text."""
    found = re.search(rf"module {name} \(.*?\);\n(.*?)  assign product = \{{(.*?)\}};\nendmodule", text, re.DOTALL)
    assert found
    return found[1].splitlines(), found[2].split(", ")[::-1]


def _multiplied(bypass: Bypass, module: str, digits: int, pins: np.ndarray, activation: np.ndarray) -> np.ndarray:
    lines, product = _module(bypass_modules(bypass, "dadda", "ks", 12, 4), module)
    nets = evaluate(lines, port_values("weight", 3 * digits, pins) | port_values("activation", 4, activation))
    return number(product, nets)


def test_the_lone_module_multiplies_weights_of_one_digit() -> None:
    place, digit, activation = (grid.ravel() for grid in np.meshgrid(np.arange(4), np.arange(5), np.arange(-8, 8)))
    found = _multiplied("lone", "lone", 4, DIGIT_PINS[digit] << 3 * place, activation)
    assert np.array_equal(found, DIGIT_VALUES[digit] * 4**place * activation % (1 << 12))


@pytest.mark.parametrize(("module", "digits"), [("whole", 4), ("upper", 2)])
def test_the_modules_with_a_tree_multiply_weights_of_all_their_digits(module: str, digits: int) -> None:
    random = np.random.default_rng(digits)
    chosen, activation = random.integers(0, 5, (digits, 400)), random.integers(-8, 8, 400)
    pins = sum(DIGIT_PINS[d] << 3 * k for k, d in enumerate(chosen))
    weight = sum(DIGIT_VALUES[d] * 4**k for k, d in enumerate(chosen))
    found = _multiplied("both", module, digits, np.asarray(pins), activation)
    assert np.array_equal(found, np.asarray(weight) * activation % (1 << 2 * digits + 4))


@pytest.mark.parametrize(
    ("bypass", "modules"),
    [("none", ()), ("lone", ("whole", "lone")), ("upper", ("whole", "upper")), ("both", ("whole", "upper", "lone"))],
)
def test_every_bypass_has_its_modules(bypass: Bypass, modules: tuple[str, ...]) -> None:
    assert bypass_partitions(bypass) == modules
    assert re.findall(r"module (\w+) \(", bypass_modules(bypass, "dadda", "ks", 12, 8)) == list(modules)


@pytest.mark.parametrize("bypass", ["lone", "upper", "both"])
def test_exactly_one_module_is_selected_by_the_stored_weight(bypass: Bypass) -> None:
    """A weight of at most one digit is lone; one without digits in its lower half is upper; every other is whole."""
    digit = np.stack(np.meshgrid(*[np.arange(5)] * 4)).reshape(4, -1)
    pins = sum(DIGIT_PINS[d] << 3 * k for k, d in enumerate(digit))
    weight = port_values("weight", 12, np.asarray(pins))
    used, in_lower = (digit > 0).sum(axis=0), (digit[:2] > 0).any(axis=0)
    lone = (used <= 1) & (bypass != "upper")
    upper = ~in_lower & ~lone & (bypass != "lone")
    wanted = {"idle0": digit[0] == 0, "idle3": digit[3] == 0, "is_lone": lone, "is_upper": upper}
    wanted["is_whole"] = ~lone & ~upper
    nets = {**weight}
    for line in selection_lines(bypass, 12, 16):
        if wire := re.fullmatch(r"wire (idle\d|is_\w+) = (.+);", line):
            function = parse_function(wire[2].replace("~", "!").replace("1'b0", "0"))
            row = sum((nets[name].astype(int) << i for i, name in enumerate(function.inputs)), np.zeros(625, int))
            nets[wire[1]] = function.table()[row] == 1
    for name, values in wanted.items():
        assert np.array_equal(nets[name], values), name
