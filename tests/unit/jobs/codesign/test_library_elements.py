"""The elements of a library, and what is said where there are none."""

from dataclasses import replace
from pathlib import Path

import pytest

from haloquant.accel.elements import element_of
from haloquant.errors import InputError, LibertyError
from haloquant.jobs.codesign.library_elements import library_elements
from haloquant.store.profiles import write_profile
from support.mapping_library import mapping_library_text
from support.whole_elements import made_of


def test_shipped_elements_and_named_ones(tmp_path: Path) -> None:
    names = {profile.name for profile in library_elements("asap7")}
    assert {"asap7-e2m1x8c4-dot-abc", "asap7-digitsdadda-cs4-abc"} <= names
    assert "asap7-digitsdadda_ks+both-mul-abc" not in names  # no whole element
    mine = replace(made_of([-1, 0, 1], 5e-12, 2), name="mine")
    write_profile(mine, tmp_path / "mine.json")
    assert library_elements("asap7", [str(tmp_path / "mine.json")])[-1].name == "mine"


@pytest.mark.parametrize("library", ["asap7", "nangate45", "NangateOpen", "sky130hd", "sky130hd_tt_025C_1v80"])
def test_every_shipped_library_has_elements_of_8_and_4_bits_and_dot_products(library: str) -> None:
    found = [element_of(profile) for profile in library_elements(library)]
    assert {8, 4, 2} <= {element.bits for element in found} and all(element.whole for element in found)
    kinds = {profile.profile.name.split("-")[1] for profile in found}
    assert {"booth4x8c4", "int4mx8c4", "e2m1x8c4", "onedigitx8c4", "digitsdadda", "onedigitw4a8"} <= kinds
    assert len({element.profile.provenance["library"] for element in found}) == 1


def test_libraries_without_elements_or_flip_flops(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"beginning of one of .*, asap7_rvt_tt_trim, .*, not 'gf180'$"):
        library_elements("gf180")
    file = tmp_path / "cells.lib"
    file.write_text(mapping_library_text())
    with pytest.raises(InputError, match=r"must include a whole 8-bit one, .* name it with --element$"):
        library_elements(str(file))
    bare = mapping_library_text().replace("ff (", "unused (").replace("ff(", "unused(")
    file.write_text(bare)
    with pytest.raises(LibertyError, match=r"must have a flip-flop, because every element has registers, and has none"):
        library_elements(str(file))
    with pytest.raises(InputError, match=r"must be a whole one, .* ends in -dot or -cs4$"):
        library_elements("asap7", ["asap7-digitsdadda_ks+both-mul-abc"])
