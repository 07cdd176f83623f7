"""Logits that are no numbers stop an evaluation, and only within the block."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from haloquant.errors import InputError
from haloquant.lm.evaluation.finite_logits import finite_logits


class Constant(torch.nn.Module):
    def __init__(self, value: float, dtype: torch.dtype) -> None:
        super().__init__()
        self.logits = torch.tensor([[[0.0, value]]], dtype=dtype)

    def forward(self) -> Any:
        return SimpleNamespace(logits=self.logits)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_nan_is_an_error_that_names_the_arithmetic(dtype: torch.dtype) -> None:
    model = Constant(torch.nan, dtype)
    with finite_logits(model), pytest.raises(InputError, match=f"computed in {str(dtype)[6:]} some are NaN"):
        model()
    model()  # outside the block it is the caller's


@pytest.mark.parametrize("value", [0.0, 1e4, -torch.inf])
def test_numbers_and_excluded_tokens_pass(value: float) -> None:
    with finite_logits(model := Constant(value, torch.float32)):
        assert model().logits[0, 0, 1] == value
