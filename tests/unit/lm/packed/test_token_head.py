"""The head of a model: a single token against torch's own product, and weights in 8 bits."""

from copy import deepcopy

import pytest
import torch
from torch import nn

import haloquant
from haloquant.errors import InputError
from haloquant.lm.checkpoint.reader import open_checkpoint
from haloquant.lm.export.packed import export_packed
from haloquant.lm.packed.token_head import MOST_TOKENS, RoundedHead, TokenHead, attach_head, check_head_bits, round_head
from support.halo_layers import codebooks
from support.tiny_model import quantized, save_llama


class Model:
    """What a causal language model shows of its head."""

    def __init__(self, head) -> None:
        self.head = head

    def get_output_embeddings(self):
        return self.head


def head(bias: bool = False, dtype: torch.dtype = torch.float32) -> nn.Linear:
    torch.manual_seed(5)
    return nn.Linear(96, 300, bias).to(dtype)


def attached(layer: nn.Linear) -> nn.Linear:
    attach_head(Model(layer))
    return layer


def state(*shape: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.randn(*shape, 96, generator=torch.Generator().manual_seed(1)).to(dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("bias", [False, True])
def test_a_single_token_has_the_logits_of_torch(bias, dtype) -> None:
    plain = head(bias, dtype)
    found = attached(deepcopy(plain))
    assert type(found) is TokenHead
    with torch.inference_mode():
        for shape in ((1, 1), (1,), ()):
            x = state(*shape, dtype=dtype)
            y = found(x)
            assert y.dtype is dtype
            assert y.shape == (*shape, 300)
            wanted = deepcopy(plain).double()(x.double())
            torch.testing.assert_close(y.double(), wanted, rtol=0.01 if dtype is torch.bfloat16 else 1e-5, atol=1e-5)


def test_all_other_products_are_those_of_torch(monkeypatch) -> None:
    plain, found = head(), attached(head())
    x = state(1, 2)
    assert torch.equal(found(x), plain(x))
    one = state(1, 1).requires_grad_()
    found(one).sum().backward()
    assert one.grad is not None
    monkeypatch.setattr(nn.Linear, "forward", lambda self, x: x)
    with torch.inference_mode():
        assert torch.equal(found(one), one)


def test_another_head_is_left_alone() -> None:
    class Other(nn.Linear):
        pass

    assert type(attached(Other(96, 3))) is Other
    attach_head(Model(None))
    changed = head()
    changed.forward = lambda x: x
    assert type(attached(changed)) is nn.Linear


def rounded_weights(weight: torch.Tensor) -> torch.Tensor:
    """The weights rounded to 8 bits, by hand."""
    scale = weight.abs().amax(1, keepdim=True) / 127
    scale[scale == 0] = 1
    return (weight / scale).round() * scale


@pytest.mark.parametrize("bias", [False, True])
def test_a_head_of_eight_bits_multiplies_with_rounded_weights(bias) -> None:
    plain = head(bias)
    with torch.no_grad():
        plain.weight[7] = 0
    found = deepcopy(plain)
    round_head(Model(found), 8)
    assert type(found) is RoundedHead
    with torch.inference_mode():
        for x in (state(1, 1), state(2, 3)):
            wanted = nn.functional.linear(x, rounded_weights(plain.weight), plain.bias)
            torch.testing.assert_close(found(x), wanted, rtol=1e-4, atol=1e-5)
            assert (found(x) - plain(x)).abs().max() > 1e-3
    assert torch.equal(found.weight, plain.weight)
    assert found.state_dict().keys() == plain.state_dict().keys()


def test_several_tokens_on_a_cpu_have_the_logits_of_each_alone() -> None:
    found = head(True)
    round_head(Model(found), 8)
    with torch.inference_mode():
        x = state(3, 4)
        assert torch.equal(found(x), torch.stack([torch.stack([found(one) for one in row]) for row in x]))
        many = state(MOST_TOKENS + 1)
        torch.testing.assert_close(found(many)[:1], found(many[:1]), rtol=1e-5, atol=1e-5)


def test_bfloat16_is_rounded_once() -> None:
    found = head(False, torch.bfloat16)
    round_head(Model(found), 8)
    exact = rounded_weights(found.weight.float())
    with torch.inference_mode():
        for tokens in (1, MOST_TOKENS + 1):
            x = state(tokens, dtype=torch.bfloat16)
            torch.testing.assert_close(found(x), (x.float() @ exact.T).to(torch.bfloat16), rtol=0.01, atol=1e-3)


def written(layer: nn.Linear, way: str) -> None:
    """Double the weights of a layer."""
    if way == "in place":
        layer.weight.mul_(2)
    elif way == "through data":  # as adapters are merged
        layer.weight.data += layer.weight.data.clone()
    elif way == "other data":
        layer.weight.data = 2 * layer.weight.data
    else:
        layer.weight = nn.Parameter(2 * layer.weight.detach())


@pytest.mark.parametrize("inference", [False, True])
@pytest.mark.parametrize("way", ["in place", "through data", "other data", "replaced"])
def test_the_rounded_weights_follow_the_weights(way, inference) -> None:
    with torch.inference_mode(inference):  # such tensors do not count their changes
        found = head()
        round_head(Model(found), 8)
    with torch.inference_mode():
        before = found(state(1, 1))
        copied = deepcopy(found)
    made = found._made
    with torch.inference_mode():
        found(state(1, 1))
        assert found._made is made
    with torch.inference_mode(inference), torch.no_grad():
        written(found, way)
    with torch.inference_mode():
        torch.testing.assert_close(found(state(1, 1)), 2 * before)
        torch.testing.assert_close(copied(state(1, 1)), before)


def test_a_single_weight_written_past_torch_counts_after_refresh() -> None:
    found = head()
    round_head(Model(found), 8)
    x = torch.zeros(1, 96)
    x[0, 41] = 1
    with torch.inference_mode():
        found(x)
        found.weight.data[123, 41] = 0
        found.refresh()
        assert found(x)[0, 123] == 0


@pytest.mark.parametrize("bits", [8, 16])
def test_tensors_of_other_forms_are_read_rightly_or_refused_as_torch_refuses_them(bits) -> None:
    def made() -> nn.Linear:
        layer = head(True)
        if bits == 16:
            return attached(layer)
        round_head(Model(layer), 8)
        return layer

    x = state(1, 1)
    with torch.inference_mode():
        wide = made()
        wanted = wide(x) - wide.bias
        for bias in (torch.arange(600.0)[::2], torch.zeros(1).expand(300)):
            wide.bias = nn.Parameter(bias, False)
            torch.testing.assert_close(wide(x), wanted + bias, rtol=1e-4, atol=1e-4)
        wide.weight = nn.Parameter(wide.weight.t().contiguous().t(), False)
        torch.testing.assert_close(wide(x), wanted + wide.bias, rtol=1e-4, atol=1e-4)
        for weight, bias in ((torch.ones(300, 64), torch.zeros(300)), (torch.ones(300, 96), torch.zeros(10))):
            wrong = made()
            wrong.weight, wrong.bias = nn.Parameter(weight, False), nn.Parameter(bias, False)
            with pytest.raises(RuntimeError):
                wrong(x)


def test_weights_that_are_no_numbers_stay_none() -> None:
    for value in (torch.nan, torch.inf):
        found = head()
        with torch.no_grad():
            found.weight[5, 3] = value
        round_head(Model(found), 8)
        with torch.inference_mode():
            for tokens in (1, MOST_TOKENS + 1):
                logits = found(state(tokens))
                assert logits[:, 5].isnan().all()
                assert logits[:, :5].isfinite().all()


def test_gradients_and_compiled_graphs_go_through_a_rounded_head() -> None:
    plain, found = head(), head()
    round_head(Model(found), 8)
    for layer in (plain, found):
        layer(state(2, 3)).square().sum().backward()
    gap = (found.weight.grad - plain.weight.grad).norm() / plain.weight.grad.norm()
    assert 0 < gap < 0.05
    compiled = torch.compile(found, fullgraph=True, backend="eager")
    with torch.no_grad():
        torch.testing.assert_close(compiled(state(2, 3)), found(state(2, 3)), rtol=1e-4, atol=1e-5)


def test_vmap_goes_to_torch() -> None:
    for layer in (attached(head()),):
        with torch.no_grad():
            torch.testing.assert_close(torch.vmap(layer)(state(4)), layer(state(4)))


def test_bits_that_no_head_has_are_refused() -> None:
    for bits in (4, 0, 8.0, 8.5, "8", True):
        with pytest.raises(InputError, match="head_bits must be 8 or 16, not"):
            check_head_bits(bits)
    with pytest.raises(InputError, match="must be 16 for this model, whose head is Embedding and not a linear"):
        round_head(Model(nn.Embedding(3, 4)), 8)
    with pytest.raises(InputError, match="whose head is absent"):
        round_head(Model(None), 8)
    moved = head()
    moved.forward = moved.forward  # as accelerate leaves a layer that it keeps on a disk
    for layer in (nn.Linear(3, 4, device="meta"), moved):
        with pytest.raises(InputError, match="not whole in memory"):
            round_head(Model(layer), 8)
    layer = head()
    round_head(Model(layer), 16)
    assert type(layer) is nn.Linear
    for _ in range(2):
        round_head(Model(layer), 8)
        assert type(layer) is RoundedHead


def test_a_loaded_model_takes_both(tmp_path) -> None:
    plain = tmp_path / "plain"
    save_llama(plain)
    checkpoint = open_checkpoint(plain)
    folder = tmp_path / "packed"
    export_packed(checkpoint, quantized(checkpoint, codebooks()), folder, profile_name="p", profile_sha256="ab" * 32)
    tokens = torch.arange(3, 15)[None]
    made = {bits: haloquant.load(folder, head_bits=bits) for bits in (8, 16)}
    assert [type(made[bits].get_output_embeddings()) for bits in (8, 16)] == [RoundedHead, TokenHead]
    with torch.inference_mode():
        logits = {bits: model(tokens).logits for bits, model in made.items()}
    change = (logits[8] - logits[16]).norm() / logits[16].norm()
    assert 1e-4 < change < 0.02
    with torch.inference_mode():
        for bits, model in made.items():
            cache = model(tokens[:, :-1]).past_key_values
            found = model(tokens[:, -1:], past_key_values=cache).logits
            torch.testing.assert_close(found, logits[bits][:, -1:], rtol=1e-4, atol=1e-4)
    with pytest.raises(InputError, match="head_bits must be 8 or 16, not 4"):
        haloquant.load(folder, head_bits=4)
