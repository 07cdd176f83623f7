"""From netlist and library to a profile, on small circuits of our own."""

from dataclasses import replace

import numpy as np
import pytest

from haloquant.circuits.characterization import (
    characterize,
    exhaustive_simulation,
    mac_stimuli,
    sampled_simulation,
    typical_conditions,
)
from haloquant.circuits.liberty.parser import parse_liberty
from haloquant.circuits.netlist.logic_check import encode_partial_sums
from haloquant.circuits.ports import MacPorts
from haloquant.circuits.rtl.generator import MacSpec, ports_of
from haloquant.circuits.timing.static_timing import static_delays
from haloquant.errors import InputError, LibertyError, NetlistError
from haloquant.jobs.mac.profile_building import partial_sums_for
from support.circuits import multiplier, small_library
from support.mapping_library import mapping_library_text
from support.near import near


@pytest.mark.parametrize("partial", [False, True])
def test_a_profile_says_what_its_parts_say(partial: bool):
    netlist, library = multiplier(3, partial=partial), small_library()
    steps: list[tuple[int, int]] = []
    profile = characterize(
        netlist,
        [library, library],
        description="three bits",
        dynamic=exhaustive_simulation,
        provenance={"made": "here"},
        progress=lambda done, of: steps.append((done, of)),
    )
    around = typical_conditions(library)
    np.testing.assert_allclose(profile.delay_s[0], static_delays(netlist, library, None, around), rtol=1e-5)
    assert (profile.sensitised_delay_s <= profile.delay_s * (1 + 1e-5)).all()
    assert profile.weights.tolist() == list(range(-4, 4))
    assert (profile.energy_j[0] >= 0).all() and profile.energy_j[0].max() > 0
    assert profile.area_m2 > 0 and (profile.leakage_w > 0).all()
    assert profile.provenance["made"] == "here" and profile.provenance["wires"] == "none"
    assert steps == [(1, 2), (2, 2)]


def test_energy_and_sensitised_delay_are_not_made_up():
    profile = characterize(multiplier(3), [small_library()], description="static only")
    assert np.isnan(profile.energy_j).all() and np.isnan(profile.sensitised_delay_s).all()
    delay_s, energy_j = sampled_simulation(multiplier(3), small_library(), typical_conditions(small_library()))
    assert np.isnan(delay_s).all() and not np.isnan(energy_j).any()


def test_typical_conditions_are_an_inverters():
    library = parse_liberty(mapping_library_text(), "mapping.lib")
    around = typical_conditions(library)
    assert around.output_load_f == near(4e-15)
    assert around.input_slew_s == near((10 + 3.0 * 4) / 0.9 * 1e-12, rel=1e-3)  # s = 10 + 0.1 s + 3 load


def test_what_cannot_be_characterized():
    netlist = multiplier(3)
    with pytest.raises(LibertyError, match=r"characterize must be given at least one cell library, not none"):
        characterize(netlist, [], description="")
    with pytest.raises(NetlistError, match=r"must compute weight \* activation"):
        characterize(replace(netlist, result_net=netlist.result_net[::-1].copy()), [small_library()], description="")
    bare = replace(small_library(), cells={k: c for k, c in small_library().cells.items() if k != "INV"})
    with pytest.raises(LibertyError, match=r"small.lib: the library must have an inverter, and has none"):
        typical_conditions(bare)


ADDS = MacPorts()


def test_lanes_of_a_mac_hold_measured_sums_also_as_two_words() -> None:
    sums = partial_sums_for(ADDS, "demo")[0]
    assert sums is not None
    lanes = mac_stimuli(ADDS, sums)
    assert lanes.transition.size == 8192 and lanes.partial_before is not None
    kept = mac_stimuli(ports_of(MacSpec(rows="digits", stage="save")), sums)
    np.testing.assert_array_equal(
        kept.partial_before, encode_partial_sums(lanes.partial_before, ports_of(MacSpec(rows="digits", stage="save")))
    )
    assert mac_stimuli(ports_of(MacSpec()), sums).partial_before is None
    with pytest.raises(InputError, match=r"^partial sums for this MAC must be of 4 activation bits, not 8$"):
        mac_stimuli(MacPorts(activation_bits=4), sums)
