"""Energies of a floating-point element: drawn operands have the right size, and a weight of 0 draws least."""

from pathlib import Path

import numpy as np
import pytest

from haloquant.circuits.liberty.parser import parse_liberty
from haloquant.circuits.netlist.float_check import number_of
from haloquant.circuits.netlist.parser import parse_netlist
from haloquant.circuits.number_formats import SumFormat, sum_bits_of, sum_number
from haloquant.circuits.ports import MacPorts, weight_values
from haloquant.circuits.rtl.floating_point import FloatSpec, float_ports, generate_float
from haloquant.circuits.simulation.dot_products import cycle_energies
from haloquant.circuits.simulation.floating_point import float_energies, float_stimuli, format_stimuli
from haloquant.eda.yosys import find_yosys, synthesize
from haloquant.errors import ToolError
from support.mapping_library import mapping_library_text
from support.near import near

SMALL = FloatSpec(5, 2, 8)


def test_weights_are_quantiles_of_a_gaussian() -> None:
    numbers = [float(number_of(int(p) & 65535, 8, 7)) for p in weight_values(float_ports(FloatSpec()))]
    assert len(numbers) == 32 and np.std(numbers) == near(1 / 32, rel=0.05)
    assert sorted(numbers) == sorted(-number for number in numbers)


def test_operands_are_numbers_of_the_size_of_activations_and_sums() -> None:
    edges = float_stimuli(float_ports(FloatSpec())).edges
    assert edges is not None and edges.shape[0] == 16 + 32
    for shift in (0, 1):  # before and after
        bits = (edges >> shift & 1).astype(np.int64)
        activation = [float(number_of(int(p), 8, 7)) for p in (1 << np.arange(16)) @ bits[:16]]
        partial = [float(number_of(int(p), 8, 23)) for p in (1 << np.arange(32)) @ bits[16:]]
        assert np.std(activation) == near(1, rel=0.1)
        assert np.std(partial) == near(np.sqrt(63.5) / 32, rel=0.15)


def test_a_weight_of_zero_draws_least(tmp_path: Path) -> None:
    try:
        find_yosys()
    except ToolError as error:
        pytest.skip(f"needs Yosys: {error}")
    path = tmp_path / "mapping.lib"
    path.write_text(mapping_library_text())
    library, ports = parse_liberty(path.read_text(), "mapping"), float_ports(SMALL)
    made = synthesize(generate_float(SMALL), path, 1e-9, abc_script="sharing")
    netlist = parse_netlist(made.json_text, library, ports)
    found = float_energies(netlist, library)
    assert found.shape == weight_values(ports).shape and (found > 0).all()
    one = 15 << 2  # 1.0, whose product is the activation
    zero, whole = cycle_energies(netlist, library, np.array([0, one], np.int16), float_stimuli(ports))
    assert zero < 0.95 * whole


def test_stimuli_of_8_bit_floats_hold_numbers_only() -> None:
    alone = format_stimuli(MacPorts(partial=None, weight_format="e4m3", activation_format="e4m3"))
    assert alone.transition.size == 254**2 and alone.probability.sum() == near(1)
    digits = alone.transition[:, None] >> 2 * np.arange(8) & 3
    for level in (digits & 1, digits >> 1):  # before and after
        assert set((level << np.arange(8)).sum(axis=1).tolist()) == set(range(256)) - {0x7F, 0xFF}


@pytest.mark.parametrize("form", ["fixed", "float16", "bfloat16", "float32"])
def test_partial_sums_of_8_bit_floats_have_the_size_of_sums_of_products(form: SumFormat) -> None:
    bits = 48 if form == "fixed" else sum_bits_of(form)
    ports = MacPorts(result_bits=bits, weight_format="e4m3", activation_format="integer", result_format=form)
    before = format_stimuli(ports).partial_before
    assert before is not None and before.size == 8192
    if form == "fixed":
        numbers = before * 2.0**-9
    else:
        parts = [sum_number(pattern, form, False) for pattern in before.tolist()]
        numbers = np.array([size * 2.0**power for size, power in parts])
    wanted = 448 / 4 * 128 / 4 * np.sqrt(63.5)  # deviations of a weight and of an 8-bit activation, 63.5 products
    assert np.std(np.clip(numbers, -65504, 65504)) == near(wanted, rel=0.15)
