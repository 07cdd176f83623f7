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


def test_own_clocks_of_a_slow_mac_are_cut_at_the_machines_base_clock_only() -> None:
    """336 ps times 2 is below 1.9 GHz; the words of the classes are faster than that limit and get it."""
    found = haloquant.simulate("opt-1.3b", prefill_tokens=64, clock="own", delay_factor=2.0)
    limit = found.machine.base.frequency_hz
    clocks = {run.name.split()[0]: [point.frequency_hz / limit for point in run.points] for run in found.runs}
    assert 0.7 < clocks["FP16"][0] < 0.85 and clocks["HALO"] == [1.0, 1.0, clocks["FP16"][0]]
    assert any("the limit is edge_lpddr5x's base clock" in note for note in found.notes)
    eco = haloquant.simulate("opt-1.3b", prefill_tokens=64, clock="own", delay_factor=2.0, mode="eco")
    fast, slow, base = next(run for run in eco.runs if run.name == "HALO (eco)").points
    assert fast.voltage_v < slow.voltage_v <= base.voltage_v and fast.frequency_hz == slow.frequency_hz == limit
    assert any("ASSUMED, not measured" in note for note in eco.notes)
    with pytest.raises(InputError, match=r"^delay_factor needs clock own, not clock machine$"):
        haloquant.simulate("opt-1.3b", delay_factor=2.0)


def test_machines_are_listed_by_the_names_that_simulate_takes() -> None:
    found = list_targets()
    assert {"tpuv4i_like", "edge_lpddr5x", "h200"} <= set(found)
    for name, target in found.items():
        assert target.name == name and target.description
        assert read_target(name) == target
