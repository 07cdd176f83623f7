"""`haloquant.simulate`: the record's ratios are those of its simulations."""

import pytest

import haloquant
from haloquant.api import list_targets
from haloquant.errors import InputError
from haloquant.store.targets import read_target

pytestmark = pytest.mark.usefixtures("one_layer")


def test_ratios_are_those_of_the_simulations() -> None:
    found = haloquant.simulate("opt-1.3b", prefill_tokens=64)
    assert [run.name.split()[0] for run in found.runs] == ["FP16", "W8A8", "W4A8", "W3A8", "HALO"] * 2
    ours, rival = found.runs[4].simulation, found.runs[1].simulation
    assert found.simulation("prefill") is ours
    assert found.speedup("prefill") == rival.time_s / ours.time_s
    assert found.energy_ratio("prefill", "W8A8") == rival.total.total_energy_j / ours.total.total_energy_j
    assert found.simulations[9].phase == "decode"
    with pytest.raises(InputError, match=r"the simulation must be one of prefill of FP16, .*, not prefill of W2A8"):
        found.speedup("prefill", "W2A8")


def test_machines_are_listed_by_the_names_that_simulate_takes() -> None:
    found = list_targets()
    assert {"tpuv4i_like", "edge_lpddr5x", "h200"} <= set(found)
    for name, target in found.items():
        assert target.name == name and target.description
        assert read_target(name) == target
