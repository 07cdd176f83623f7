"""`haloquant.simulate`: the record's ratios are those of its simulations."""

import pytest

import haloquant
from haloquant.api import schedule
from haloquant.errors import InfeasibleError, InputError


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """A shape of one layer in place of a named model."""
    from haloquant.accel.workload.model_shapes import ModelShape
    from haloquant.jobs.machines import systems

    monkeypatch.setattr(systems, "named_shape", lambda name: ModelShape("opt-1.3b", "opt", 256, 640, 1, 4, 4, 1000))


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


def test_an_order_that_cannot_run_is_a_row_beside_others_and_an_error_alone() -> None:
    found = schedule("opt-1.3b", prefill_tokens=64)
    assert len(found.rows) == 10 and len(found.simulations) == 8
    assert {row.policy for row in found.rows if row.cannot} == {"islands"}
    with pytest.raises(InfeasibleError, match="islands need at least one array"):
        schedule("opt-1.3b", policy="islands", prefill_tokens=64)


def test_counts_are_checked() -> None:
    with pytest.raises(InputError, match="prefill_tokens must be a whole number of at least 1, not 0"):
        haloquant.simulate("opt-1.3b", prefill_tokens=0)
    with pytest.raises(InputError, match="batch must be a whole number of at least 1, not -1"):
        haloquant.simulate("opt-1.3b", batch=-1)
