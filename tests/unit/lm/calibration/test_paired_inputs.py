"""Inputs of layers in two copies of a model, against the whole models with hooks."""

from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from haloquant.errors import InputError  # noqa: E402
from haloquant.lm.calibration.paired_inputs import round_against_full_precision  # noqa: E402
from haloquant.lm.checkpoint.reader import open_checkpoint, read_weight  # noqa: E402
from haloquant.lm.evaluation.rounded_activations import activations_per_token  # noqa: E402
from haloquant.lm.swap_weights import find_module, with_weights  # noqa: E402
from haloquant.lm.torch_model import load_model  # noqa: E402
from haloquant.quant.transforms.error_propagation import PairedInputs  # noqa: E402
from support.tiny_model import save_llama  # noqa: E402

WINDOWS = np.random.default_rng(0).integers(3, 96, (4, 12))


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return open_checkpoint(save_llama(tmp_path_factory.mktemp("paired") / "model", num_hidden_layers=2))


def inputs_of(model: Any, layer: str) -> np.ndarray:
    """What a layer of the whole model computes with, [windows, tokens, in]."""
    seen: list[np.ndarray] = []
    handle = find_module(model, layer).register_forward_pre_hook(lambda _, args: seen.append(args[0].numpy()))
    with torch.no_grad():
        model(input_ids=torch.from_numpy(WINDOWS), use_cache=False)
    handle.remove()
    return seen[0].astype(np.float64)


@pytest.mark.parametrize("bits", [None, 8])
def test_moments_are_those_of_the_two_whole_models(checkpoint: Any, bits: int | None) -> None:
    found: dict[str, PairedInputs] = {}

    def rounder(layer: Any, weight: np.ndarray, inputs: PairedInputs) -> np.ndarray:
        np.testing.assert_array_equal(weight, read_weight(checkpoint, layer))
        found[layer.name] = inputs
        return np.round(weight * 8) / 8

    made = dict((layer.name, weight) for layer, weight in round_against_full_precision(
        checkpoint, WINDOWS, rounder, bits
    ))  # fmt: skip
    names, model = [layer.name for layer in checkpoint.layers], load_model(checkpoint.folder)
    assert list(made) == names
    for layer in checkpoint.layers:
        clean = inputs_of(model, layer.name)
        before = {other.name: made[other.name] for other in checkpoint.layers if other.group < layer.group}
        with with_weights(model, before), activations_per_token(model, names if bits else [], bits or 8):
            actual = inputs_of(model, layer.name)
        for part, half in (("", slice(0, None, 2)), ("held_", slice(1, None, 2))):
            x, y = (v[half].reshape(-1, layer.in_features) for v in (clean, actual))
            for name, wanted in (("hessian", y.T @ y), ("cross", x.T @ y)):
                wanted = 2 / len(x) * wanted
                got = getattr(found[layer.name], part + name)
                np.testing.assert_allclose(got, wanted, rtol=1e-3, atol=1e-4 * np.abs(wanted).max())


def test_two_windows_are_needed(checkpoint: Any) -> None:
    with pytest.raises(InputError, match="paired inputs need two windows of calibration text at least, not 1"):
        next(iter(round_against_full_precision(checkpoint, WINDOWS[:1], lambda *_: np.zeros(1))))
