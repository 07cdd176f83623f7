"""The MACs a person can name, and what is said of wrong names; nothing is synthesized here."""

from pathlib import Path

import pytest

from haloquant.circuits.ports import weight_values
from haloquant.circuits.rtl.generator import generate
from haloquant.cli.app import invoke
from haloquant.errors import InputError, NetlistError
from haloquant.jobs.mac.catalogue import generated_mac, mac_from_rtl, mac_names, mac_specs
from haloquant.store.profiles import shipped_profiles


def test_every_part_of_the_generator_has_a_name() -> None:
    known = set(mac_names())
    assert {
        "boothwdadda_bk-mul",
        "bwarray_rca-macks",
        "smdadda_ks-fused",
        "digitsdadda_ks+lone-mul",
        "digitsdadda_ks+upper-pipeks",
        "digitsdadda_ks+both-mul",
        "digitsdadda_ks+both-save",
        "sxarray_rcaw4a8-mul",
        "native-mul",
        "serial",
    } <= known
    assert "native-fused" not in known
    assert {
        "digitsdadda-cs4",
        "bwdaddaw3a8-cs4",
        "bwarrayw4a4-cs4",
        "digitsdadda+lone-cs4",
        "onedigitw4a8-cs4",
        "e2m1x8-dot",
        "booth4x16c4-dot",
    } <= known
    assert not known & {"native-cs4", "digitsdaddaw3a8-cs4", "onedigitw4a8-mul", "e2m1x4c4-dot"}
    assert {"boothmdadda_sel4-mul", "boothaarray_skip8-macskip8", "bwdadda_sel2-fused"} <= known
    # 8 row kinds x 2 trees x 3 adders x (4 + 2 * 3) stages x 2 widths; 3 bypasses of 8-bit digits but for `fused`;
    # native: 3 + 2 * 3 stages x 2 widths; 2 serial ones; elements: 8 x 2 trees x 4 widths but two of digits, 6 with
    # bypasses, 4 of one digit; adders in blocks: 8 x 2 trees x 2 kinds of 2 to 8 bits x 3 stages; dot products: 4
    # kinds of rows x 4 numbers of products, 2 cuts where more rows are added
    parallel = 8 * 6 * 10 * 2 + 6 * 9 * 3 + 9 * 2 + (8 * 2 * 4 - 2) + 6 + 4 + 8 * 2 * 14 * 3
    assert len(known) == parallel + 2 + 4 * 4 + 4 * 2 + 1 + 3  # 3 floating-point ones


def test_a_bit_serial_product_takes_a_cycle_for_every_activation_bit() -> None:
    assert [generated_mac(name).cycles for name in ("serial", "serialw4a8", "native-mul", "bwdadda_ks-pipebk")] == [
        8,
        8,
        1,
        1,
    ]


def test_every_shipped_profile_is_of_a_unit_with_a_name() -> None:
    units = {name.split("-", 1)[1].rsplit("-", 1)[0] for name in shipped_profiles() if name != "paper-22nm"}
    assert units <= set(mac_names())


@pytest.mark.parametrize("spec", [s for s in mac_specs().values() if s.tree == "dadda" and s.adder == "ks"])
def test_every_kind_of_unit_is_generated(spec) -> None:
    source = generated_mac(spec.name)
    assert source.verilog == generate(spec)
    assert f"// {spec.name}: " in source.verilog
    assert weight_values(source.ports).size >= 15  # four bits; sign and magnitude have one zero


def test_parts_of_two_mode_units_get_their_own_periods() -> None:
    both = generated_mac("digitsdadda_ks+both-pipebk")
    assert both.parts == (("whole", 1.0), ("upper", 1 / 2), ("lone", 1 / 3), ("accumulate", 1 / 3), ("hold", 1.0))
    assert both.period == 1 / 6
    assert (generated_mac("boothwdadda_bk-mul").parts, generated_mac("boothwdadda_bk-mul").period) == ((), 1.0)


def test_the_serial_unit_is_one_of_ours() -> None:
    source = generated_mac("serialw4a8")
    assert (source.ports.latency, source.ports.weight_bits) == (8, 4)
    assert source.description == "4x8 signed: bit-serial, one adder, one activation bit a cycle"


def test_a_wrong_name_is_told_its_neighbours() -> None:
    with pytest.raises(
        InputError,
        match=r"^the MAC must be named <rows><tree>_<adder>-<stage>, <rows><tree>-cs4 or <words>x<products>-dot, "
        r"such as "
        r"boothwdadda_bk-mul, .*; "
        r"not 'boothdadda_bk-mul'\. `haloquant characterize --list` shows all$",
    ):
        generated_mac("boothdadda_bk-mul")


def test_the_command_lists_and_asks_for_a_library(capfd: pytest.CaptureFixture[str]) -> None:
    assert invoke(["characterize", "--list"]) == 0
    assert capfd.readouterr().out.split() == mac_names()
    assert invoke(["characterize"]) == 2
    assert "characterize needs a cell library: --liberty FILE" in capfd.readouterr().err


def test_a_mac_of_several_files_has_the_name_of_the_first(tmp_path: Path) -> None:
    (tmp_path / "ports.toml").write_text("")
    for name in ("mac", "parts"):
        (tmp_path / f"{name}.v").write_text(f"module {name}; endmodule")
    source = mac_from_rtl([tmp_path / "mac.v", tmp_path / "parts.v"], tmp_path / "ports.toml")
    assert source.name == "mac" and source.description == "mac.v, parts.v, ports by ports.toml"
    assert source.verilog == "module mac; endmodule\nmodule parts; endmodule"
    (tmp_path / "ports.toml").write_text("{")
    with pytest.raises(NetlistError, match=r"ports\.toml: the ports file must be TOML"):
        mac_from_rtl([tmp_path / "mac.v"], tmp_path / "ports.toml")
