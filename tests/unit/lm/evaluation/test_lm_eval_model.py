"""The token before a text that lm-eval is given."""

from types import SimpleNamespace

import pytest

pytest.importorskip("lm_eval")
pytest.importorskip("torch")

from haloquant.errors import InputError
from haloquant.lm.evaluation.lm_eval_model import prefix_token


@pytest.mark.parametrize(
    ("tokenizer", "config", "expected"),
    [
        ((5, None), (1, 2), None),  # lm-eval finds one in the tokenizer
        ((None, 6), (1, 2), None),
        ((None, None), (1, 2), 1),
        ((None, None), (None, 2), 2),
        ((None, None), (None, [3, 4]), 3),
    ],
)
def test_it_is_that_of_the_tokenizer_or_else_of_the_configuration(
    tokenizer: tuple[int | None, int | None], config: tuple[object, object], expected: int | None
) -> None:
    assert prefix_token(_model(*config), _tokenizer(*tokenizer)) == expected


def test_a_model_without_such_a_token_is_refused() -> None:
    with pytest.raises(InputError, match=r"give tokenizer_config.json a bos_token or an eos_token$"):
        prefix_token(_model(None, []), _tokenizer(None, None))


def _tokenizer(begin: object, end: object) -> SimpleNamespace:
    return SimpleNamespace(bos_token_id=begin, eos_token_id=end)


def _model(begin: object, end: object) -> SimpleNamespace:
    return SimpleNamespace(config=_tokenizer(begin, end))
