"""Arguments of `check_paper` are refused before any work."""

import pytest

from haloquant.api.paper import check_paper
from haloquant.errors import CheckpointError, InputError


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"methods": ("papre",)}, r"methods must be one of haloquant, paper, not 'papre'"),
        ({"methods": ()}, r"methods must hold at least one of haloquant, paper"),
        ({"tokens": -1}, r"tokens must be a whole number of at least 0, not -1"),
        ({"window": 1}, r"window must be a whole number of at least 2, not 1"),
        ({"calibration_tokens": 0}, r"calibration_tokens must be a whole number of at least 1, not 0"),
    ],
)
def test_a_wrong_sample_or_rounding_is_refused(wrong: dict[str, object], sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        check_paper(model="demo", progress=False, **wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "alone", [{"tokens": 5}, {"text": ["a.txt"]}, {"window": 64}, {"calibration_tokens": 9}, {"methods": ["paper"]}]
)
def test_what_only_a_model_heeds_is_refused_without_one(alone) -> None:
    with pytest.raises(InputError, match=f"{next(iter(alone))} must come with a model, for the rows of table 2"):
        check_paper(progress=False, **alone)


def test_a_missing_model_is_said_before_any_work() -> None:
    told: list[str] = []
    with pytest.raises(CheckpointError):
        check_paper(model="nowhere", progress=lambda task, *_: told.append(task))
    assert "fair machines" not in told
