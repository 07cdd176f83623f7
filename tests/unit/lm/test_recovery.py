"""Training of scales: gradients against plain autograd, and what a training may and may not change."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from haloquant.errors import InputError
from haloquant.lm.export.packed import export_packed
from haloquant.lm.packed.halo_linear import HaloLinear
from haloquant.lm.packed.loading import load
from haloquant.lm.packed.reader import open_packed, read_layer
from haloquant.lm.recovery import Training, divergence, recover, trainable_scales
from haloquant.lm.torch_model import load_model
from haloquant.quant.layer import dequantize, mac_values, resized

TOKENS = np.random.default_rng(5).integers(1, 96, (12, 32))
LONG = Training(steps=40, learning_rate=3e-3, batch=2, seed=1)


@pytest.fixture(scope="module")
def student(packed):
    return load(packed, dtype=torch.float32)


@pytest.fixture(scope="module")
def teacher(tiny):
    model = load_model(tiny[0].folder)
    return lambda ids: model(input_ids=ids, use_cache=False).logits


def test_the_weight_and_the_output_are_those_of_the_packed_layer(student, packed) -> None:
    x = torch.randn(2, 5, 172, generator=torch.Generator().manual_seed(0))
    layers = {module.name: module for module in student.modules() if isinstance(module, HaloLinear)}
    wide = next(name for name, layer in layers.items() if layer.in_features == 172)  # no multiple of a tile of 32
    before = layers[wide](x)
    with trainable_scales(student) as products:
        for name, product in products.items():
            expected = dequantize(read_layer(open_packed(packed), name))
            np.testing.assert_array_equal(product.weight(product.scale, product.offset).numpy(), expected)
        torch.testing.assert_close(layers[wide](x), before, rtol=1e-5, atol=1e-5)
    assert all("forward" not in vars(layer) for layer in layers.values())


@pytest.mark.parametrize("kind", [torch.float32, torch.float64])
def test_gradients_are_those_of_a_plain_expression(student, packed, kind) -> None:
    with trainable_scales(student) as products:
        for name, product in products.items():
            q = read_layer(open_packed(packed), name)
            x = torch.randn(2, 3, q.codes.shape[1], dtype=kind, requires_grad=True)
            pull = torch.randn(2, 3, q.codes.shape[0], dtype=kind)
            product(x).backward(pull)
            given_x, given_change, given_shift = x.grad, product.change.grad, product.shift.grad
            x.grad = None
            change = torch.zeros(q.scale.shape, dtype=torch.float64, requires_grad=True)
            scale = torch.from_numpy(q.scale).double() * (1 + change)
            shift = torch.zeros(q.scale.shape, dtype=torch.float64, requires_grad=True)
            tile, words = q.tiles.grid.tile_in, torch.from_numpy(mac_values(q)).double()
            wide, added = (part.repeat_interleave(tile, 1)[:, : words.shape[1]] for part in (scale, shift))
            padded = nn.functional.pad(words, (0, q.tiles.grid.across * tile - words.shape[1]))
            unit = torch.from_numpy(q.scale).abs() * padded.view(*q.scale.shape, tile).square().mean(-1).sqrt()
            sparse = torch.from_numpy(dequantize(q)) - words * wide.detach()
            unit_wide = unit.repeat_interleave(tile, 1)[:, : words.shape[1]]
            y = nn.functional.linear(x.double(), words * wide + added * unit_wide + sparse)
            y.backward(pull.double())
            assert change.grad is not None and given_change is not None
            assert shift.grad is not None and given_shift is not None
            torch.testing.assert_close(given_shift.double(), shift.grad, rtol=1e-3, atol=1e-5)
            torch.testing.assert_close(given_x, x.grad, rtol=1e-4, atol=1e-5)
            torch.testing.assert_close(given_change.double(), change.grad, rtol=1e-3, atol=1e-5)


def test_divergence_by_hand() -> None:
    wanted, given = torch.log(torch.tensor([[0.5, 0.25, 0.25]])), torch.log(torch.tensor([[0.25, 0.5, 0.25]]))
    expected = 0.5 * np.log(2) + 0.25 * np.log(0.5)
    assert divergence(wanted[None] + 3, given[None] - 7).item() == pytest.approx(expected, rel=1e-6)


def test_no_step_changes_nothing(student, teacher) -> None:
    done = recover(student, teacher, TOKENS[:10], TOKENS[10:], Training(steps=0))
    for module in student.modules():
        if isinstance(module, HaloLinear):
            assert done.scales[module.name].tobytes() == module.weight_scale.numpy().tobytes()
    assert done.step == 0 and np.array_equal(done.before, done.after) and done.before.mean() > 0 and not done.offsets


@pytest.mark.slow
def test_training_lowers_the_divergence_and_repeats_itself(student, teacher) -> None:
    biases = {name: value.clone() for name, value in student.named_parameters()}
    done = recover(student, teacher, TOKENS[:10], TOKENS[10:], LONG)
    assert done.step > 0 and done.after.mean() < 0.9 * done.before.mean()
    again = recover(student, teacher, TOKENS[:10], TOKENS[10:], LONG)
    assert all(np.array_equal(done.scales[name], again.scales[name]) for name in done.scales)
    assert all(np.isfinite(scale).all() for scale in done.scales.values())
    assert biases and all(torch.equal(value, biases[name]) for name, value in student.named_parameters())


@pytest.mark.slow
def test_offsets_are_trained_alone_or_beside_scales(student, teacher) -> None:
    found = {}
    for train in ("offsets", "both"):
        done = recover(student, teacher, TOKENS[:10], TOKENS[10:], replace(LONG, train=train))
        found[train] = done.after.mean() / done.before.mean()
        stored = {
            module.name: module.weight_scale.numpy() for module in student.modules() if isinstance(module, HaloLinear)
        }
        assert set(done.offsets) == set(stored) and any(np.any(offset) for offset in done.offsets.values())
        same = [np.array_equal(done.scales[name], stored[name]) for name in stored]
        assert all(same) if train == "offsets" else not any(same)
    assert found["both"] < found["offsets"] < 0.97


@pytest.mark.slow
def test_shuffled_labels_do_not_gain(student, teacher) -> None:
    """The teacher's answers are moved to other tokens while training; the held-out windows are judged rightly."""
    generator = torch.Generator().manual_seed(0)
    held_out = {row.tobytes() for row in TOKENS[10:]}

    def shuffled(ids: torch.Tensor) -> torch.Tensor:
        logits = teacher(ids)
        if ids[0].numpy().tobytes() in held_out:
            return logits
        return logits[:, :, torch.randperm(logits.shape[2], generator=generator)]

    done = recover(student, shuffled, TOKENS[:10], TOKENS[10:], LONG)
    assert done.after.mean() > 0.99 * done.before.mean()


def test_what_cannot_be_trained(student, teacher) -> None:
    with pytest.raises(
        InputError, match=r"^a model whose scales are trained must have packed layers, and it has none$"
    ):
        recover(nn.Linear(2, 2), teacher, TOKENS[:10], TOKENS[10:], LONG)
    with pytest.raises(InputError, match=r"^the divergence of the packed model from its teacher must be finite"):
        recover(student, lambda ids: teacher(ids) * float("nan"), TOKENS[:10], TOKENS[10:], LONG)


def test_scales_of_a_layer_with_an_exponent_are_stored_at_its_size(tiny, tmp_path) -> None:
    export_packed(
        tiny[0], [resized(q, 30) for q in tiny[1]], tmp_path / "small", profile_name="p", profile_sha256="0" * 64
    )
    model = load(tmp_path / "small", dtype=torch.float32)
    before = {module.name: module.weight_scale for module in model.modules() if isinstance(module, HaloLinear)}
    with trainable_scales(model) as products:
        for name, product in products.items():
            assert torch.equal(product.stored()[0], before[name])
            expected = dequantize(read_layer(open_packed(tmp_path / "small"), name))
            np.testing.assert_allclose(
                product.weight(product.scale, product.offset).numpy(), expected, rtol=1e-6, atol=0
            )
