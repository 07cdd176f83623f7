"""What a profile says of its netlist and its libraries."""

from dataclasses import replace

import numpy as np

from haloquant.circuits.profile_provenance import netlist_provenance
from support.circuits import multiplier, small_library


def test_what_cells_do_not_state_and_counts_as_nothing_is_said():
    library = small_library()
    bare = {n: replace(c, leakage=(), leakage_w=0.0, powers=()) for n, c in library.cells.items()}
    odd = replace(library, cells=bare, warnings=tuple(f"cell {i} is left out" for i in range(9)))
    said = netlist_provenance(multiplier(3), [odd], np.ones(8), energies=False)["library_warnings"]
    assert said.startswith("small: cell 0 is left out; ") and "cell 5" not in said and "and 4 more" in said
    assert "no leakage of " in said and "internal energies" not in said  # it was not simulated
    simulated = netlist_provenance(multiplier(3), [odd], np.ones(8), energies=True)["library_warnings"]
    assert "no internal energies of " in simulated


def test_a_multiplier_has_no_parts_of_an_element_and_no_formats() -> None:
    found = netlist_provenance(multiplier(3), [small_library()], np.ones(8), energies=False)
    assert not {"element", "products", "weight_format", "timing_warning"} & set(found)


def test_a_mac_with_registers_that_is_equally_slow_for_all_values_is_warned_of() -> None:
    def warned(pipelined: bool, delays: np.ndarray) -> bool:
        netlist = multiplier(3, partial=pipelined, pipelined=pipelined)
        return "timing_warning" in netlist_provenance(netlist, [small_library()], delays, energies=False)

    assert warned(True, np.ones(8))
    assert not warned(True, np.arange(8.0)) and not warned(False, np.ones(8))
