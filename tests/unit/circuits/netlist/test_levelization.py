"""Order of gates: the level of a gate is its longest chain; loops are named."""

import numpy as np
import pytest

from haloquant.circuits.netlist.builder import Gate
from haloquant.circuits.netlist.levelization import levelise
from haloquant.errors import NetlistError
from support.timing_netlists import read


def _gate(name: str, inputs: list[int], output: int) -> Gate:
    return Gate(name, 0, inputs, [output])


def test_a_gate_stands_behind_the_longest_chain_to_it() -> None:
    """d reads a port and the end of the chain a, b, c: its level is 3, although one of its inputs is there at once."""
    gates = [_gate("d", [2, 12], 13), _gate("c", [11, 11], 12), _gate("b", [10], 11), _gate("a", [2], 10)]
    order, starts = levelise([*gates, _gate("e", [3], 14)])
    assert [gate.name for gate in order] == ["a", "e", "b", "c", "d"]
    assert starts == [0, 2, 3, 4, 5]


def test_no_gates_have_one_empty_level() -> None:
    assert levelise([]) == ([], [0])


@pytest.mark.parametrize("seed", range(5))
def test_levels_of_random_graphs_are_their_longest_chains(seed: int) -> None:
    random = np.random.default_rng(seed)
    inputs = [sorted({int(n) for n in random.integers(0, 5 + g, 3)}) for g in range(40)]
    longest = [0] * 5  # five ports, then the outputs of the gates
    for pins in inputs:
        longest.append(1 + max(longest[net] for net in pins))
    gates = [_gate(str(g), inputs[g], 5 + g) for g in range(40)]
    order, starts = levelise([gates[i] for i in random.permutation(40)])
    found = {gate.name: level for level in range(len(starts) - 1) for gate in order[starts[level] : starts[level + 1]]}
    assert found == {str(g): longest[5 + g] - 1 for g in range(40)}


def test_a_loop_is_named_without_the_gates_that_only_hang_on_it() -> None:
    gates = [_gate("late", [12], 20), _gate("x", [12], 11), _gate("y", [11, 2], 12), _gate("early", [2], 21)]
    with pytest.raises(
        NetlistError, match=r"^the netlist must have no combinational loop, but has (x -> y -> x|y -> x -> y)$"
    ):
        levelise(gates)


def test_a_long_loop_is_cut() -> None:
    with pytest.raises(NetlistError, match=r"(\w+ -> ){11}\.\.\.$"):
        levelise([_gate(f"g{i}", [(i - 1) % 30], i) for i in range(30)])


def test_a_netlist_with_a_loop_is_refused() -> None:
    with pytest.raises(NetlistError) as error:
        read({"a": ("INV", {"A": 6, "Y": 5}), "b": ("NAND2", {"A": 5, "B": 2, "Y": 6}), "c": ("INV", {"A": 6, "Y": 4})})
    assert str(error.value) == "the netlist must have no combinational loop, but has a -> b -> a"
