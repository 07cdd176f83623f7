"""The ABC script of a synthesis, by name or chosen."""

from pathlib import Path

import pytest

from haloquant.circuits.ports import MacPorts
from haloquant.circuits.rtl.generator import MacSpec, ports_of
from haloquant.errors import InputError, LibertyError
from haloquant.jobs.mac.catalogue import generated_mac
from haloquant.jobs.mac.profile_building import choose_script, partial_sums_for, synthesize_mac
from haloquant.store.partial_sums import DEMO_FILE
from support.mapping_library import mapping_library_text


def test_scripts() -> None:
    assert (choose_script(None, False), choose_script(None, True), choose_script("depth", True)) == (
        "balance",
        "keep",
        "depth",
    )
    with pytest.raises(
        InputError,
        match=r"^the ABC script must be one of depth, choices, balance, sharing, nf, speedup, keep, not 'fast'$",
    ):
        choose_script("fast", False)


ADDS = MacPorts()


def test_the_default_is_the_measured_one_where_there_is_one() -> None:
    sums, said = partial_sums_for(ADDS, "demo")
    assert sums is not None and said == sums.source
    four = partial_sums_for(ports_of(MacSpec(rows="sx", stage="mac", weight_bits=4)), "demo")[0]
    assert four is not None and four.weight_bits == 4
    digits = partial_sums_for(ports_of(MacSpec(rows="digits", stage="save")), "demo")[0]
    assert digits is not None and digits.weight_bits == 8
    assert partial_sums_for(ports_of(MacSpec()), "demo") == (None, "none: the multiplier alone")
    six = MacPorts(weight_bits=6)
    said = "Gaussian model of 128 rows of 6x8 bits, one independent of the other"
    assert partial_sums_for(six, "demo") == (None, said)
    assert partial_sums_for(ADDS, "gaussian")[0] is None
    with pytest.raises(
        InputError,
        match=r"must hold partial sums of 6x8 bits \(weight x activation\), as this MAC adds; it holds 8x8, 4x8$",
    ):
        partial_sums_for(six, str(DEMO_FILE))


def test_partial_sums_from_nowhere() -> None:
    with pytest.raises(InputError, match=r"^partial sums must be demo, gaussian or a file of them, not 'gausian'$"):
        partial_sums_for(ADDS, "gausian")


def test_a_mac_with_registers_needs_a_flip_flop(tmp_path: Path) -> None:
    bare = tmp_path / "bare.lib"
    bare.write_text(mapping_library_text().replace("ff (", "unused ("))
    sentence = (
        r"bare\.lib must have a flip-flop, because digitsdadda-cs4 has registers, and has none; add the library's"
    )
    with pytest.raises(LibertyError, match=sentence):
        synthesize_mac(generated_mac("digitsdadda-cs4"), bare, 1e-9)
