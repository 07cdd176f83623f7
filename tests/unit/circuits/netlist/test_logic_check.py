"""Bit-parallel evaluation against truth tables, and MACs that are none."""

from dataclasses import replace

import numpy as np
import pytest

from haloquant.circuits.netlist.logic_check import check_mac, evaluate_mac, evaluate_truth_table
from haloquant.errors import NetlistError
from support.circuits import multiplier, small_library


@pytest.mark.parametrize("inputs", [0, 1, 2, 3, 5])
def test_apply_function_is_its_truth_table(inputs: int):
    random = np.random.default_rng(inputs)
    for _ in range(40):
        table = tuple(random.integers(0, 2, 1 << inputs).tolist())
        rows = np.arange(64)
        words = [
            np.packbits((rows >> i & 1).astype(np.uint8), bitorder="little").view(np.uint64) for i in range(inputs)
        ]
        got = np.unpackbits(evaluate_truth_table(table, words).view(np.uint8), bitorder="little")
        assert got.tolist() == [table[row % len(table)] for row in rows]


@pytest.mark.parametrize("options", [{}, {"partial": True}, {"partial": True, "pipelined": True}])
def test_a_mac_passes(options: dict[str, bool]):
    netlist = multiplier(4, **options)
    assert check_mac(netlist, small_library()) == 256 * (3 if options else 1)


def test_the_counterexample_is_one():
    netlist = multiplier(4)
    turned = replace(netlist, result_net=netlist.result_net[::-1].copy())
    sentence = r"mac must compute weight \* activation, but gives -8 \* -8 = 2, not 64 \(213 of 256 operands wrong\)"
    with pytest.raises(NetlistError, match=sentence):
        check_mac(turned, small_library())


def test_latency_that_is_not_declared_shows():
    netlist = multiplier(3, partial=True, pipelined=True)
    undeclared = replace(netlist, ports=replace(netlist.ports, latency=0))
    with pytest.raises(NetlistError, match=r"must compute weight \* activation \+ partial, but gives"):
        check_mac(undeclared, small_library())


def test_evaluate_one_operand():
    netlist = multiplier(4, partial=True)
    one = (np.array([-3], dtype=np.int16), np.array([5], dtype=np.int64), np.array([100], dtype=np.int64))
    assert evaluate_mac(netlist, small_library(), *one).tolist() == [85]
