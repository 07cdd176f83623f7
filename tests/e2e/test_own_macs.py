"""MACs of one's own that are not the plain one: declared in the ports file, or refused with the declaration to make."""

from collections.abc import Callable
from pathlib import Path

import pytest

from haloquant.cli.app import invoke
from haloquant.store.profiles import read_profile
from support.draws import daily
from support.float8_macs import PRODUCT

PORTS = "weight_bits = 3\nactivation_bits = 3\nresult_bits = 6\n"
HEAD = "module mac (input signed [2:0] weight, input {activation} [2:0] activation, input signed [5:0] partial, "
UNSIGNED = HEAD.format(activation="") + (
    "output signed [5:0] result); assign result = partial + weight * $signed({1'b0, activation}); endmodule"
)
SATURATING = HEAD.format(activation="signed") + (
    "output signed [5:0] result); wire signed [6:0] s = partial + weight * activation; "
    "assign result = (s[6] != s[5]) ? {s[6], {5{~s[6]}}} : s[5:0]; endmodule"
)
BOTH = HEAD.format(activation="") + (
    "output signed [5:0] result); wire signed [7:0] s = partial + weight * $signed({1'b0, activation}); "
    "assign result = s > 31 ? 6'sd31 : s < -32 ? -6'sd32 : s[5:0]; endmodule"
)
FLOAT = (  # sign, two bits of exponent and no fraction: the product of two powers of two
    "module mac (input [2:0] weight, input [2:0] activation, output [7:0] result); "
    "wire [7:0] size = 8'd1 << (weight[1:0] + activation[1:0]); "
    "assign result = weight[2] ^ activation[2] ? -size : size; endmodule"
)


@pytest.fixture
def characterize(find_data: Callable[[str], Path], tmp_path: Path) -> Callable[..., int]:
    pytest.importorskip("pyosys", reason="needs Yosys")
    liberty = find_data("liberty/sky130hd/sky130hd_tt_025C_1v80.lib.gz")

    def run(verilog: str, ports: str) -> int:
        (tmp_path / "mac.v").write_text(verilog)
        (tmp_path / "ports.toml").write_text(ports)
        own = ["--rtl", str(tmp_path / "mac.v"), "--ports", str(tmp_path / "ports.toml"), "--liberty", str(liberty)]
        return invoke(["characterize", *own, "--static-only", "--quiet", "--out", str(tmp_path / "own.json")])

    return run


DECLARED = [
    (BOTH, ("unsigned_activation", "saturates")),
    (UNSIGNED, ("unsigned_activation",)),
    (SATURATING, ("saturates",)),
]


@pytest.mark.thinned
@pytest.mark.parametrize(("verilog", "declared"), daily(DECLARED, DECLARED[:1]))
def test_what_a_refusal_advises_is_accepted(characterize, tmp_path, capfd, verilog, declared) -> None:
    assert characterize(verilog, PORTS) == 2
    told = " and ".join(f"{name} = true" for name in declared)
    assert f"; with {told} in the ports file all are right" in " ".join(capfd.readouterr().err.split())
    assert characterize(verilog, PORTS + "".join(f"{name} = true\n" for name in declared)) == 0
    profile = read_profile(tmp_path / "own.json")
    said = profile.provenance["checked"]
    assert said.startswith("192 operand triples against weight * ")
    assert ("unsigned activation" in said, said.endswith(", saturated")) == (
        "unsigned_activation" in declared,
        "saturates" in declared,
    )


def test_a_declaration_that_is_not_so_is_refused(characterize, capfd) -> None:
    plain = UNSIGNED.replace("input [2:0] activation", "input signed [2:0] activation").replace(
        "$signed({1'b0, activation})", "activation"
    )
    assert characterize(plain.replace("input  [2:0]", "input signed [2:0]"), PORTS + "saturates = true\n") == 2
    assert "with saturates = false in the ports file" in " ".join(capfd.readouterr().err.split())


def test_a_mac_of_floats_must_say_that_it_is_not_checked(characterize, tmp_path, capfd) -> None:
    ports = 'weight_bits = 3\nactivation_bits = 3\nresult_bits = 8\npartial = ""\n'
    assert characterize(FLOAT, ports) == 2
    assert "; a MAC that computes something else must say unchecked = true in its ports file" in " ".join(
        capfd.readouterr().err.split()
    )
    assert characterize(FLOAT, ports + "unchecked = true\n") == 0
    assert read_profile(tmp_path / "own.json").provenance["checked"].startswith("not checked, as the ports file says")
    assert "note: the MAC's function was not checked" in " ".join(capfd.readouterr().out.split())


def test_two_words_do_not_saturate(characterize, capfd) -> None:
    assert characterize(SATURATING, PORTS + "saturates = true\ncarry_save = true\n") == 2
    assert "saturates must come without carry_save" in capfd.readouterr().err


def test_a_mac_of_8_bit_floats_is_checked_and_its_profile_speaks_of_floats(characterize, tmp_path, capfd) -> None:
    ports = 'result_bits = 32\npartial = ""\n'
    assert characterize(PRODUCT, ports) == 2
    declared = 'weight_format = "e4m3"\nactivation_format = "e4m3"\n'
    told = " and ".join(declared.splitlines())
    assert f"with {told} in the ports file all are right" in " ".join(capfd.readouterr().err.split())
    assert characterize(PRODUCT, ports + declared) == 0
    file = str(tmp_path / "own.json")
    profile = read_profile(tmp_path / "own.json")
    assert profile.weight_format == "e4m3" and profile.weights.size == 254
    assert profile.provenance["checked"] == (
        "64,516 operand triples against weight * activation + partial of e4m3 and e4m3, fixed point in units of 2**-18"
    )
    capfd.readouterr()
    assert invoke(["profiles", "--profile", file, "--words", "0.001953125,-448,0"]) == 0
    assert "-448 0 0.00195312" in capfd.readouterr().out
    assert invoke(["profiles", "--profile", file, "--words", "0.3"]) == 2
    said = capfd.readouterr().err
    assert "must be a number that e4m3 holds, such as 0.28125 or 0.3125, not 0.3" in " ".join(said.split())
    assert invoke(["explain", "--profile", file, "--weight", "0.5"]) == 0
    assert "delay of 0.5:" in capfd.readouterr().out
    for command in (
        ["simulate", "opt-1.3b", "--profile", file],
        ["simulate", "opt-1.3b", "--against", file],
        ["deadline", "opt-1.3b", "--profile", file],
        ["quantize", "demo", "--calibration", "none", "-q", "--out", str(tmp_path / "out"), "--profile", file],
        ["explore", "-q", "--out", str(tmp_path / "out"), "--profile", file],
        ["codesign", "demo", "-q", "--out", str(tmp_path / "out"), "--element", file],
    ):
        assert invoke(command) == 2, command
        said = " ".join(capfd.readouterr().err.split())
        assert "whose weights are 8-bit floats (e4m3)" in said or "must be a whole one" in said, said
        assert not (tmp_path / "out").exists(), command
