"""MACs of 8-bit floats: mapped ones are found right, and wrong ones or wrong declarations are refused."""

from dataclasses import replace

import numpy as np
import pytest

from haloquant.circuits.liberty.parser import parse_liberty
from haloquant.circuits.liberty.records import Library
from haloquant.circuits.netlist import format_check
from haloquant.circuits.netlist.format_check import check_formats, said
from haloquant.circuits.netlist.logic_check import check_mac, evaluate_mac
from haloquant.circuits.netlist.parser import Netlist, parse_netlist
from haloquant.circuits.ports import MacPorts, weight_values
from haloquant.circuits.ports_file import parse_ports
from haloquant.eda.yosys import find_yosys, synthesize
from haloquant.errors import NetlistError, ToolError
from support.float8_macs import FIXED_SUM, FLOAT16_SUM, PRODUCT, PRODUCT_E5M2
from support.mapping_library import mapping_library_text

E4M3 = 'weight_format = "e4m3"\nactivation_format = "e4m3"\n'
E5M2 = E4M3.replace("e4m3", "e5m2")
ALONE = 'partial = ""\n'


@pytest.fixture(scope="module")
def mapped(tmp_path_factory: pytest.TempPathFactory):
    try:
        find_yosys()
    except ToolError as error:
        pytest.skip(f"needs Yosys: {error}")
    path = tmp_path_factory.mktemp("cells") / "mapping.lib"
    path.write_text(mapping_library_text())
    library = parse_liberty(path.read_text(), "mapping")

    def run(verilog: str, declared: str) -> tuple[Netlist, Library]:
        text = synthesize(verilog, path, 1e-9, abc_script="sharing").json_text
        return parse_netlist(text, library, parse_ports(declared)), library

    return run


def _as(netlist: Netlist, declared: str) -> Netlist:
    return replace(netlist, ports=parse_ports(declared))


def test_an_exact_product(mapped) -> None:
    netlist, library = mapped(PRODUCT, ALONE + "result_bits = 32\n" + E4M3)
    assert check_formats(netlist, library) == 254 * 254
    assert said(netlist.ports) == "e4m3 and e4m3, fixed point in units of 2**-18"
    for declared in (E5M2, E4M3 + "saturates = true\n", E5M2.replace("e5m2", "e4m3", 1)):
        with pytest.raises(NetlistError, match=r"^mac must compute weight \* activation of .* but gives 0x"):
            check_formats(_as(netlist, ALONE + "result_bits = 32\n" + declared), library)


@pytest.mark.parametrize(("verilog", "bits", "form"), [(PRODUCT, 32, E4M3), (PRODUCT_E5M2, 40, E5M2)])
def test_the_refusal_of_an_integer_mac_names_the_formats(mapped, verilog: str, bits: int, form: str) -> None:
    declared = f"{ALONE}result_bits = {bits}\n"
    netlist, library = mapped(verilog, declared)
    with pytest.raises(NetlistError, match=f"; with {' and '.join(form.splitlines())} in the ports file all are right"):
        check_mac(netlist, library)
    assert check_formats(_as(netlist, declared + form), library) in (254 * 254, 248 * 248)


def test_a_sum_in_fixed_point(mapped) -> None:
    netlist, library = mapped(FIXED_SUM, "result_bits = 40\n" + E4M3)
    assert check_formats(netlist, library) == 3 * 254 * 254
    broken, _ = mapped(FIXED_SUM.replace("partial + ", "(partial & ~40'd1) + "), "result_bits = 40\n" + E4M3)
    with pytest.raises(NetlistError, match=r"weight \* activation \+ partial of e4m3 and e4m3, fixed point"):
        check_formats(broken, library)


@pytest.mark.seldom
def test_a_sum_in_binary16(mapped, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its subnormal sums, its rounding to even and its infinity all count."""
    declared = 'result_bits = 16\nresult_format = "float16"\n' + E4M3
    netlist, library = mapped(FLOAT16_SUM, declared)
    assert check_formats(netlist, library) == 3 * 254 * 254
    assert said(netlist.ports) == "e4m3 and e4m3, rounded to float16"
    with pytest.raises(NetlistError, match="rounded to float16, without subnormal sums, but gives 0x"):
        check_formats(_as(netlist, declared + "flushes = true\n"), library)
    monkeypatch.setattr(format_check, "evaluate_mac", lambda *given: evaluate_mac(*given) & ~1)  # as if it truncated
    with pytest.raises(NetlistError, match="rounded to float16, but gives 0x"):
        check_formats(netlist, library)


def test_patterns_that_are_no_numbers_are_no_weights() -> None:
    ports = MacPorts(weight_format="e4m3")
    assert set(range(-128, 128)) - set(weight_values(ports).tolist()) == {-1, 127}
    assert weight_values(replace(ports, weight_format="e5m2")).size == 256 - 8
    assert np.array_equal(weight_values(MacPorts()), np.arange(-128, 128))
