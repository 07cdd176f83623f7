"""Damaged libraries, expressions and netlists: only our own errors, with a sentence, in bounded time and memory.

A longer run of the same kind is `bench/fuzz_readers.py`.
"""

import time
import tracemalloc

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from haloquant.circuits.liberty.boolean_functions import parse_function
from haloquant.circuits.liberty.parser import parse_liberty
from haloquant.circuits.netlist.parser import parse_netlist
from haloquant.circuits.ports import MacPorts
from haloquant.circuits.timing.static_timing import static_delays
from haloquant.errors import LibertyError, NetlistError
from support.gate_cases import library_text, netlist_json, random_gates

LIBRARY = library_text()
SOUND = parse_liberty(LIBRARY)
TINY = MacPorts(partial=None, weight_bits=1, activation_bits=1, result_bits=1)
GATES, DRIVEN = random_gates(3, [2, 3], 10)
NETLIST = netlist_json(
    {"weight": ("input", [2]), "activation": ("input", [3]), "result": ("output", DRIVEN[-1:])}, GATES
)
QUICK = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
PIECES = st.sampled_from(
    [
        "",
        "{",
        "}",
        "(",
        ")",
        '"',
        ";",
        ":",
        ",",
        "[",
        "]",
        "/*",
        "\\\n",
        "0",
        "-1",
        "1e999",
        "nan",
        "'",
        "!",
        "\x00",
        "é",
    ]
)


@st.composite
def damaged(draw: st.DrawFn, text: str) -> str:
    """The text with a few pieces replaced by other ones."""
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(text)))
        text = text[:at] + draw(PIECES) + text[at + draw(st.sampled_from([0, 1, 1, 7, len(text)])) :]
    return text


@QUICK
@given(damaged(LIBRARY))
def test_a_damaged_library(text: str):
    try:
        library = parse_liberty(text, "x.lib")
    except LibertyError as error:
        assert str(error).startswith("x.lib:")  # with the line
        return
    try:
        static_delays(parse_netlist(NETLIST, library, TINY), library)
    except NetlistError as error:
        assert str(error)


@QUICK
@given(damaged(NETLIST))
def test_a_damaged_netlist(text: str):
    try:
        static_delays(parse_netlist(text, SOUND, TINY), SOUND)
    except NetlistError as error:
        assert str(error)


@QUICK
@given(st.text(alphabet="AB()!'^&*|+ 01\\x", max_size=40))
def test_any_expression(text: str):
    try:
        function = parse_function(text)
    except LibertyError as error:
        assert str(error)
        return
    assert len(function.table()) == 2 ** len(function.inputs)


@pytest.mark.parametrize(
    "text",
    [
        "library (x) {" + "a : 1; " * 200_000,
        "library (x) { values (" + '"1", ' * 300_000,
        "library (x) { a : " + "\\" * 500_000,
        "/*" + "*" * 1_000_000,
        " " * 1_000_000 + "x",
        "library (x) {" + "(" * 500_000,
        '"' + "a" * 1_000_000,
        "library (x) { pin (" + "A, " * 300_000 + ") { } }",
    ],
    ids=["attributes", "values", "backslashes", "comment", "blanks", "brackets", "quote", "names"],
)
def test_time_and_memory_stay_in_proportion_to_the_text(text: str):
    began = time.process_time()
    tracemalloc.start()
    try:
        with pytest.raises(LibertyError):
            parse_liberty(text)
        assert tracemalloc.get_traced_memory()[1] < 100 * len(text)
    finally:
        tracemalloc.stop()
    assert time.process_time() - began < 20.0  # a second without the tracing


def test_a_netlist_of_deep_lists_or_of_huge_numbers():
    for text in ("[" * 100_000, '{"modules": {"mac": {"ports": {"w": {"direction": "input", "bits": [1e400]}}}}}'):
        with pytest.raises(NetlistError):
            parse_netlist(text, SOUND, TINY)
