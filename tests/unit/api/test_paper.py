"""Arguments of `check_paper` are refused before any work."""

import pytest

from haloquant.api.paper import check_paper
from haloquant.errors import InputError


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
