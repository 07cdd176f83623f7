"""`haloquant.simulate`: the record's ratios are those of its simulations."""

from dataclasses import replace
from pathlib import Path

import pytest

import haloquant
from haloquant.api import list_targets
from haloquant.errors import InputError
from haloquant.store.profiles import find_profile, write_profile
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


def test_a_machine_of_claimed_clocks_says_what_it_is_not() -> None:
    found = haloquant.simulate("opt-1.3b", "paper_tpu", profile="paper-22nm", prefill_tokens=64)
    (said,) = (note for note in found.notes if note.startswith("paper_tpu: "))
    assert "Its joules are not those of the paper's figure 10" in said
    assert not any(
        note.startswith("edge_lpddr5x: ") for note in haloquant.simulate("opt-1.3b", prefill_tokens=64).notes
    )


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


def test_bits_of_inputs_save_bytes_and_no_cycle_and_the_notes_say_so() -> None:
    """At M = 64 the on-chip memory reads inputs and weights; attention, in 8 bits, moves as before."""
    plain, wide, narrow, mixed = (
        haloquant.simulate("opt-1.3b", prefill_tokens=64, **asked)
        for asked in ({}, {"activation_bits": 8}, {"activation_bits": 4}, {"activation_bits": 8, "low_share": 0.5})
    )
    runs = [found.simulation("prefill") for found in (plain, wide, narrow, mixed)]
    assert runs[0].total == runs[1].total
    sram = [run.total.energy_j["sram"] for run in runs]
    assert sram[2] < sram[3] < sram[1]
    assert sram[1] - sram[3] == pytest.approx((sram[1] - sram[2]) / 2)
    assert {run.total.cycles for run in runs} == {runs[0].total.cycles}
    assert {run.total.energy_j["mac"] for run in runs} == {runs[0].total.energy_j["mac"]}
    assert any(note.startswith("the inputs of the quantized layers have 4 bits in all") for note in narrow.notes)
    said = "the inputs of the quantized layers have 8 bits, 4 in 50% of the tokens in all integer systems: they save"
    assert any(note.startswith(said) for note in mixed.notes) and not any("inputs of" in note for note in plain.notes)
    sixteen = haloquant.simulate("opt-1.3b", prefill_tokens=64, activation_bits=16)
    assert sixteen.simulation("prefill").time_s > runs[0].time_s
    assert any("its arrays run 2 times over a layer" in note for note in sixteen.notes)


def test_a_mac_of_narrow_inputs_is_said(tmp_path: Path) -> None:
    write_profile(replace(find_profile("default"), activation_bits=4), tmp_path / "narrow.json")
    found = haloquant.simulate("opt-1.3b", prefill_tokens=64, profile=tmp_path / "narrow.json")
    assert any("multiplies inputs of 4 bits, and all integer systems have such" in note for note in found.notes)
    asked = haloquant.simulate("opt-1.3b", prefill_tokens=64, profile=tmp_path / "narrow.json", activation_bits=8)
    assert any("its arrays run 2 times over a layer" in note for note in asked.notes)


def test_new_silicon_heeds_the_bits_of_inputs_too() -> None:
    plain, narrow = (
        haloquant.simulate("opt-1.3b", prefill_tokens=64, **asked) for asked in ({}, {"activation_bits": 4})
    )
    assert plain.new_silicon and narrow.new_silicon
    for before, after in zip(plain.new_silicon.runs, narrow.new_silicon.runs, strict=True):
        same = after.simulation.total.energy_j["sram"] == before.simulation.total.energy_j["sram"]
        assert same == (before.system == "FP16")


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"activation_bits": 1}, "^activation_bits must be a whole number from 2 to 16, not 1$"),
        ({"low_share": 0.5}, "^low_share must come with activation_bits, the bits of the other tokens$"),
        ({"activation_bits": 8, "low_share": 1.5}, "^low_share must be 0 to 1, not 1.5$"),
        ({"activation_bits": 4, "low_share": 0.5}, "^low_bits must be below activation_bits, 4, not 4$"),
        (
            {"activation_bits": 8, "low_bits": 2},
            "^low_bits must come with low_share, the share of the tokens that have them$",
        ),
        ({"low_bits": 2}, "^low_bits must come with low_share, the share of the tokens that have them$"),
        ({"activation_bits": 8, "low_bits": 1}, "^low_bits must be a whole number from 2 to 16, not 1$"),
    ],
)
def test_bits_of_inputs_that_make_no_sense_are_refused(asked: dict[str, float], said: str) -> None:
    with pytest.raises(InputError, match=said):
        haloquant.simulate("opt-1.3b", **asked)
