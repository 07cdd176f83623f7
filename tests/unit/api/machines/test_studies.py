"""Studies of a shape of one layer: what their rows are and what their notes say; arguments that are refused."""

from typing import Any

import pytest

from haloquant.api.machines import studies
from haloquant.api.machines.studies import (
    ELEMENTS_NOTE,
    PAPER_NOTE,
    check_claims,
    compare_multipliers,
    estimate_gpu,
    meet_deadline,
    sweep,
)
from haloquant.errors import InputError
from haloquant.store.targets import read_gpu, read_systolic
from support.machine_models import LOADED


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """A shape of one layer on a made-up multiplier in place of a named model."""
    monkeypatch.setattr(studies, "open_on", lambda model, target, *_: (read_systolic("edge_lpddr5x"), LOADED))


def test_claims_of_both_phases_say_that_the_paper_measured_nothing() -> None:
    found = check_claims("opt-1.3b", prefill_tokens=64)
    assert found.notes == (PAPER_NOTE,) and found.fast_share == LOADED.fast_share
    assert [row.described.phase for row in found.rows] == ["prefill"] * 4 + ["decode"] * 4


def test_marks_of_a_sweep_stand_by_phase_and_ascend() -> None:
    rows: Any = sweep("opt-1.3b", over="static", prefill_tokens=64).rows
    phases = [row.phase for row in rows]
    assert phases == sorted(phases, reverse=True) and set(phases) == {"prefill", "decode"}
    for phase in ("prefill", "decode"):
        values = [row.value for row in rows if row.phase == phase]
        assert values == sorted(values) and len(set(values)) > 1
    assert {row.system.split()[0] for row in rows} == {"HALO", "W8A8", "W4A8"}


def test_multipliers_of_both_phases_are_counted_and_not_characterized() -> None:
    found = compare_multipliers("opt-1.3b", prefill_tokens=64)
    assert (found.profile, found.notes) == ("full-adder count", (ELEMENTS_NOTE,))
    assert {row.phase for row in found.rows} == {"prefill", "decode"}


def test_a_board_names_every_block_that_weights_do_not_shorten() -> None:
    found = estimate_gpu("opt-1.3b", prefill_tokens=64)
    board = read_gpu("gpu_2080ti")
    assert found.machine == board
    fixed = [block.name for block in board.blocks if not block.follows]
    assert fixed and [note.split(":")[0] for note in found.notes] == fixed
    assert {row.format for row in found.rows} == {"FP16", "W8A8", "W4A16", "W4A8", "HALO"}


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"period_s": -1.0}, r"^period_s must be 0 to 86400, not -1\.0$"),
        ({"idle_w": float("nan")}, r"^idle_w must be 0 to 1e\+06, not nan$"),
        ({"fast_share": 1.5}, r"^the share of fast tiles must be 0 to 1, not 1\.5$"),
        ({"batch": 0}, r"^batch must be a whole number from 1 to 65536, not 0$"),
    ],
)
def test_wrong_numbers_are_refused_before_a_model_is_opened(
    arguments: dict[str, Any], sentence: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise AssertionError("a model was opened")

    monkeypatch.setattr(studies, "open_on", fail)
    with pytest.raises(InputError, match=sentence):
        meet_deadline("opt-1.3b", **arguments)
