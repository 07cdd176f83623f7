"""Weights replaced within a block and back after it, also after an error; modules found by their name."""

import numpy as np
import pytest
import torch
from transformers.models.falcon.modeling_falcon import FalconLinear

from haloquant.errors import CheckpointError
from haloquant.lm.swap_weights import find_module, get_weight, is_linear, weight_parameter, with_weights


class Conv1D(torch.nn.Module):
    """Stores [in, out], as GPT-2 does; the name tells."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.arange(6.0).reshape(2, 3))


class Model(torch.nn.Module):
    """A head that shares the memory of the embedding, and one block of several kinds."""

    def __init__(self) -> None:
        super().__init__()
        block = torch.nn.ModuleDict({"fc": torch.nn.Linear(4, 3), "conv": Conv1D(), "norm": torch.nn.LayerNorm(4)})
        self.model = torch.nn.ModuleDict({"layers": torch.nn.ModuleList([block]), "embed": torch.nn.Embedding(5, 4)})
        self.lm_head = torch.nn.Linear(4, 5, bias=False)
        self.lm_head.weight = self.model["embed"].weight


FC, CONV = "model.layers.0.fc", "model.layers.0.conv"


def test_weights_come_back_after_the_block_and_after_an_error() -> None:
    model = Model()
    before = {name: get_weight(model, name) for name in (FC, CONV)}
    new = {FC: np.full((3, 4), 7, np.float32), CONV: np.arange(6, dtype=np.float32).reshape(3, 2) * 10}
    with with_weights(model, new) as changed:
        assert changed is model
        assert all(np.array_equal(get_weight(model, name), new[name]) for name in new)
        assert model.get_submodule(CONV).weight.tolist() == [[0, 20, 40], [10, 30, 50]]
    assert all(np.array_equal(get_weight(model, name), before[name]) for name in new)
    with pytest.raises(KeyError), with_weights(model, new):
        raise KeyError
    assert all(np.array_equal(get_weight(model, name), before[name]) for name in new)


def test_a_copy_is_given_and_not_a_view() -> None:
    model = Model()
    get_weight(model, FC)[:] = 0
    assert model.get_submodule(FC).weight.count_nonzero() > 0


@pytest.mark.parametrize("name", ["layers.0.fc", "transformer.model.layers.0.fc"])
def test_a_prefix_more_or_less_is_the_same_module(name: str) -> None:
    model = Model()
    assert find_module(model, name) is model.get_submodule(FC)


@pytest.mark.parametrize(
    ("weights", "sentence"),
    [
        ({"lm_head": (5, 4)}, r"^the weight of lm_head must be its own, but it is shared: "),
        ({FC: (4, 3)}, r"^the weight of model\.layers\.0\.fc must be \[3, 4\], not \[4, 3\]$"),
        ({CONV: (2, 3)}, r"^the weight of model\.layers\.0\.conv must be \[3, 2\], not \[2, 3\]$"),
        ({"model.layers.9.fc": (3, 4)}, r"^the model must have one module named model\.layers\.9\.fc, not 0$"),
        ({"model.layers.0.norm": (1, 4)}, r"^the layer model\.layers\.0\.norm must be a linear layer, not LayerNorm$"),
    ],
)
def test_what_does_not_fit_is_refused_before_anything_changes(weights: dict, sentence: str) -> None:
    model = Model()
    before = get_weight(model, FC)
    arrays = {name: np.ones(shape, np.float32) for name, shape in weights.items()}
    with (
        pytest.raises(CheckpointError, match=sentence),
        with_weights(model, {FC: np.zeros((3, 4), np.float32)} | arrays),
    ):
        pytest.fail("the block was entered")
    assert np.array_equal(get_weight(model, FC), before)


def test_the_parameter_says_how_it_is_stored() -> None:
    model = Model()
    assert weight_parameter(model, FC)[1] is False
    parameter, transposed = weight_parameter(model, CONV)
    assert transposed and parameter is model.get_submodule(CONV).weight


def test_a_linear_layer_with_another_product_is_none() -> None:
    class Grouped(torch.nn.Linear):
        def forward(self, x):
            return super().forward(x).view(*x.shape[:-1], 2, -1)

    class Named(torch.nn.Linear):
        pass

    assert [is_linear(kind(4, 6)) for kind in (torch.nn.Linear, Named, FalconLinear, Grouped)] == [True] * 3 + [False]
    assert is_linear(Conv1D()) and not is_linear(torch.nn.Embedding(4, 6))
