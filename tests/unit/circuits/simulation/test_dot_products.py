"""Energies of mixtures of words: against the table of a plain MAC, and their sums of words."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from haloquant.circuits.liberty.parser import parse_liberty
from haloquant.circuits.liberty.records import Library
from haloquant.circuits.netlist.logic_check import check_mac, encode_partial_sums
from haloquant.circuits.netlist.parser import Netlist, parse_netlist
from haloquant.circuits.ports import MacPorts, weight_values
from haloquant.circuits.rtl.dot_products import DotSpec, dot_ports, generate_dot
from haloquant.circuits.simulation.dot_products import drawn_mixtures, mixture_energies, word_energies
from haloquant.circuits.simulation.stimuli import Stimuli, gaussian_partial_sums
from haloquant.circuits.simulation.value_table import simulate_values
from haloquant.eda.yosys import find_yosys, synthesize
from haloquant.errors import NetlistError, ToolError
from support.mapping_library import mapping_library_text
from support.near import near

ONE = DotSpec("onedigit", 1, activation_bits=3, accumulator_bits=9)
FOUR = DotSpec("onedigit", 4, activation_bits=3, accumulator_bits=9)


@pytest.fixture(scope="module")
def mapped(tmp_path_factory: pytest.TempPathFactory) -> tuple[Library, dict[DotSpec, str]]:
    try:
        find_yosys()
    except ToolError as error:
        pytest.skip(f"needs Yosys: {error}")
    path = Path(tmp_path_factory.mktemp("liberty") / "mapping.lib")
    path.write_text(mapping_library_text())
    made = {spec: synthesize(generate_dot(spec), path, 4e-10, abc_script="nf").json_text for spec in (ONE, FOUR)}
    return parse_liberty(path.read_text(), "mapping"), made


def element(mapped: tuple[Library, dict[DotSpec, str]], spec: DotSpec) -> Netlist:
    return parse_netlist(mapped[1][spec], mapped[0], dot_ports(spec))


def test_one_product_draws_what_the_same_netlist_draws_as_a_plain_mac(mapped) -> None:
    """The pins of one-digit words are those of the plain unit; the unsigned activation is a signed one, inverted."""
    library, netlist = mapped[0], element(mapped, ONE)
    words = weight_values(netlist.ports)
    found = mixture_energies(netlist, library, words[:, None], lanes=300)
    plain = MacPorts(
        clock="clk", weight_bits=5, activation_bits=3, result_bits=18, encoding="one_digit", latency=2, carry_save=True,
        partial_registered=True,
    )  # fmt: skip
    random = np.random.default_rng(0)
    values, histogram = gaussian_partial_sums(128, 8 / 3, 1.0, 9)
    unsigned, sums = [], []
    for _ in range(2):  # the draws of `mixture_energies`
        unsigned.append(random.integers(-4, 4, (300, 1))[:, 0] + 4)
        drawn = random.choice(values, size=300, p=histogram / histogram.sum())
        sums.append(encode_partial_sums(drawn, plain))
    transition = sum(((unsigned[0] >> i & 1) + 2 * (unsigned[1] >> i & 1)) << 2 * i for i in range(3)).astype(np.int32)
    lanes = Stimuli(3, transition, np.full((1, 300), 1 / 300), ("drawn",), sums[0], sums[1])
    table = simulate_values(parse_netlist(mapped[1][ONE], library, plain), library, words, lanes)
    assert found.tolist() == near(table.energy_j[0].tolist(), rel=1e-9)


@pytest.mark.slow
def test_energies_of_words_add_up_to_those_of_mixtures(mapped) -> None:
    library, netlist = mapped[0], element(mapped, FOUR)
    words = weight_values(netlist.ports)
    energy, error = word_energies(netlist, library)
    mixtures = drawn_mixtures(words, 4, seed=5)[:20]  # others than those of the fit
    exact = mixture_energies(netlist, library, mixtures)
    summed = (mixtures[:, :, None] == words).sum(axis=1) @ energy
    assert np.abs(summed / exact - 1).mean() < 0.08 and error < 0.08
    assert energy.argmin() == words.tolist().index(0)


def test_a_netlist_that_adds_wrongly_is_refused(mapped) -> None:
    """With its weight pins in another order the element multiplies other words."""
    library, netlist = mapped[0], element(mapped, FOUR)
    assert check_mac(netlist, library) == 4 * 9 * 8
    turned = replace(netlist, weight_net=netlist.weight_net[::-1].copy())
    with pytest.raises(NetlistError, match="must add the products of weights and activations and their constants"):
        check_mac(turned, library)
