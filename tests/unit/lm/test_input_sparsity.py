"""Masks of a tiny model: their density, and how sparsity is divided among the layers."""

import numpy as np
import pytest
import torch

pytest.importorskip("transformers")

from haloquant.errors import InputError
from haloquant.lm import input_sparsity
from haloquant.lm.evaluation.sparse_inputs import sparse_inputs
from haloquant.lm.input_sparsity import find_input_masks, sample_windows
from haloquant.lm.swap_weights import LayerWeights, find_module, get_weight
from haloquant.lm.torch_model import load_model
from support.tiny_model import save_llama

LAYERS = [
    f"model.layers.{block}.{name}"
    for block in range(2)
    for name in ("self_attn.q_proj", "self_attn.o_proj", "mlp.up_proj", "mlp.down_proj")
]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> torch.nn.Module:
    return load_model(save_llama(tmp_path_factory.mktemp("model")))


@pytest.fixture
def weights(model: torch.nn.Module) -> LayerWeights:
    return LayerWeights({name: lambda name=name: get_weight(model, name) for name in LAYERS})


def _windows(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 96, (8, 64))


def _divergence(model: torch.nn.Module, masks, windows: np.ndarray) -> float:
    batch = torch.from_numpy(windows)
    with torch.inference_mode():
        dense = torch.log_softmax(model(input_ids=batch).logits, -1)
        with sparse_inputs(model, masks):
            got = torch.log_softmax(model(input_ids=batch).logits, -1)
    return float((dense.exp() * (dense - got)).sum(-1).mean())


def test_no_sparsity_is_no_mask(model: torch.nn.Module, weights: LayerWeights) -> None:
    found = find_input_masks(model, weights, _windows(0), 0.0)
    assert not found.masks and found.sparsity == 0
    assert _divergence(model, found.masks, _windows(1)) == 0


@pytest.mark.parametrize("sparsity", [0.25, 0.5])
def test_as_many_inputs_are_left_out_of_other_text(
    sparsity: float, model: torch.nn.Module, weights: LayerWeights
) -> None:
    found = find_input_masks(model, weights, _windows(0), sparsity)
    assert list(found.masks) == LAYERS
    assert found.sparsity == pytest.approx(sparsity, abs=1e-4)
    with torch.inference_mode(), sparse_inputs(model, found.masks) as counts:
        model(input_ids=torch.from_numpy(_windows(1)))
    for layer in LAYERS:
        assert counts.density(layer) == pytest.approx(1 - sparsity, abs=0.05)  # earlier layers do without inputs too


def test_divided_sparsity_changes_predictions_less(model: torch.nn.Module, weights: LayerWeights) -> None:
    """At as many multiply-accumulates, on text that did not choose the levels."""
    steps: list[tuple[int, int]] = []
    uniform = find_input_masks(model, weights, _windows(0), 0.5)
    divided = find_input_masks(model, weights, _windows(0), 0.5, "divergence", lambda *at: steps.append(at))
    assert divided.sparsity >= 0.5 - 1e-4
    assert len({mask.sparsity for mask in divided.masks.values()}) > 1
    assert _divergence(model, divided.masks, _windows(1)) < 0.9 * _divergence(model, uniform.masks, _windows(1))
    assert steps[0][0] >= 1 and steps[-1][0] == steps[-1][1]
    assert divided.levels.keys() == set(LAYERS) and len(set(divided.levels.values())) > 1
    steps.clear()
    again = find_input_masks(
        model, weights, _windows(0), 0.5, "divergence", lambda *at: steps.append(at), given=divided.levels
    )
    assert steps == [(1, 1)] and again.levels == divided.levels
    assert {name: mask.threshold for name, mask in again.masks.items()} == {
        name: mask.threshold for name, mask in divided.masks.items()
    }


def test_a_sample_is_the_first_512_tokens() -> None:
    assert sample_windows(np.arange(3000), 2048).shape == (1, 512)
    assert sample_windows(np.arange(3000), 100).shape == (5, 100)
    assert sample_windows(np.arange(30), 100).shape == (1, 30)
    with pytest.raises(InputError, match="at least 2 tokens, not 1"):
        sample_windows(np.arange(1), 100)


def test_the_share_of_a_mask_is_what_was_measured(model: torch.nn.Module, weights: LayerWeights) -> None:
    """Inputs that are 0 for most tokens are left out beyond the share that was asked for."""
    layer = "model.layers.1.mlp.down_proj"

    def most_are_zero(_module: torch.nn.Module, args: tuple[torch.Tensor]) -> tuple[torch.Tensor]:
        return (torch.where(args[0] > args[0].quantile(0.8), args[0], 0),)

    handle = find_module(model, layer).register_forward_pre_hook(most_are_zero)
    try:
        found = find_input_masks(model, weights, _windows(0), 0.5)
    finally:
        handle.remove()
    assert found.masks[layer].threshold == 0
    assert found.masks[layer].sparsity == pytest.approx(0.8, abs=0.01)
    assert found.levels[layer] == 0.5 and found.sparsity > 0.51


def test_the_inputs_of_one_block_are_in_memory(
    model: torch.nn.Module, weights: LayerWeights, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The thresholds of a block's layers are found before the next block begins."""
    seen: list[str] = []
    thresholds = input_sparsity.score_thresholds
    monkeypatch.setattr(
        input_sparsity, "score_thresholds", lambda *given: seen.append("thresholds") or thresholds(*given)
    )
    blocks = model.get_submodule("model.layers")
    handles = [block.register_forward_pre_hook(lambda *_: seen.append("block")) for block in blocks.children()]
    find_input_masks(model, weights, _windows(0), 0.5)
    for handle in handles:
        handle.remove()
    assert seen == ["block", *["thresholds"] * 4] * 2
