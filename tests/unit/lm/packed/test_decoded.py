"""Layers whose weights stay decoded give what packed layers give, and are packed layers again afterwards."""

import pytest
import torch
from torch import nn

from haloquant.lm.packed.decoded import decoded_weights
from haloquant.lm.packed.halo_linear import HaloLinear
from support.halo_layers import random_layer
from support.packed_layers import packed_module

X = torch.randn(3, 96, generator=torch.Generator().manual_seed(0))


def model() -> nn.Sequential:
    """A packed layer with a bias, and one that rounds its inputs."""
    made = [packed_module(random_layer(96, 96, 32, seed=seed, sparse=0.02)) for seed in (0, 1)]
    made[0].bias = nn.Parameter(torch.linspace(-1, 1, 96), False)
    made[1].int8_activations = True
    return nn.Sequential(*made)


def test_products_are_the_same_and_inputs_that_are_rounded_stay_so() -> None:
    layers = model()
    with torch.no_grad():
        wanted, each = layers(X), [layer(X) for layer in layers]
        with decoded_weights(layers, free_b=1e9) as count:
            assert count == 1
            found, first, second = layers(X), layers[0](X), layers[1](X)
            layers[0].register_forward_pre_hook(lambda _module, args: (args[0] * 0,))
            assert torch.equal(layers[0](X), layers[0].bias.expand(3, 96))  # hooks of layers are called as before
            layers[0]._forward_pre_hooks.clear()
        again = layers(X)
    torch.testing.assert_close(first, each[0], rtol=1e-5, atol=1e-5)
    assert torch.equal(second, each[1])
    torch.testing.assert_close(found, wanted, rtol=1e-2, atol=1e-2)  # a rounded input may fall to the next code
    assert torch.equal(again, wanted)
    assert all(layer.forward.__func__ is HaloLinear.forward for layer in layers)


def test_layers_stay_packed_where_memory_is_short_or_the_type_is_another() -> None:
    layers = model()
    needed_b = 4.0 * 96 * 96
    for free_b, wanted in ((2 * needed_b, 1), (2 * needed_b - 1, 0)):
        with decoded_weights(layers, free_b) as count:
            assert count == wanted
    with decoded_weights(layers.to(torch.bfloat16)) as count:
        assert count == 0
    with decoded_weights(nn.Linear(3, 3)) as count:
        assert count == 0


def test_layers_are_packed_again_after_an_error() -> None:
    layers = model()
    with pytest.raises(ZeroDivisionError), decoded_weights(layers):
        raise ZeroDivisionError
    assert "forward" not in layers[0].__dict__
