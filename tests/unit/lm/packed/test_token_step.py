"""One token from compiled parts gives what transformers gives, and every other call goes to transformers."""

import gc
import inspect
from concurrent.futures import ThreadPoolExecutor
from copy import copy, deepcopy
from weakref import ref

import pytest
import torch
from torch import nn
from transformers import DynamicCache, StaticCache
from transformers.models.llama.modeling_llama import LlamaMLP

import haloquant
from haloquant.lm.checkpoint.reader import open_checkpoint
from haloquant.lm.export.packed import export_packed
from haloquant.lm.packed import token_step
from support.halo_layers import codebooks
from support.model_families import save_model, tiny_config
from support.tiny_model import quantized, save_llama

PROMPT = torch.arange(3, 15)[None]
NEXT = torch.tensor([[7]])


def packed_folder(folder, family):
    """A packed model of a family; Llama has biases in its attention."""
    plain = folder / "plain"
    if family == "llama":
        save_llama(plain)
    else:
        save_model(plain, tiny_config(family))
    checkpoint = open_checkpoint(plain)
    export_packed(
        checkpoint, quantized(checkpoint, codebooks()), folder / "packed", profile_name="p", profile_sha256="ab" * 32
    )
    return folder / "packed"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return packed_folder(tmp_path_factory.mktemp("step"), "llama")


@pytest.fixture
def model(folder):
    return haloquant.load(folder, dtype=torch.float32)


@pytest.fixture(autouse=True)
def counted(monkeypatch):
    """The number of tokens that were computed from compiled parts."""
    count = [0]
    plain = token_step.TokenStep.hidden_state

    def hidden_state(*given):
        found = plain(*given)
        count[0] += found is not None
        return found

    monkeypatch.setattr(token_step.TokenStep, "hidden_state", hidden_state)
    return count


def by_transformers(model):
    """The same model without compiled steps."""
    twin = deepcopy(model)
    twin.model.__class__ = type(twin.model).__bases__[0]
    return twin


def logits(model, tokens=(7, 9, 4), **given):
    """The logits of some tokens, one after the other behind the prompt."""
    with torch.inference_mode():
        cache = model(PROMPT, use_cache=True).past_key_values
        found = [model(torch.tensor([[t]]), past_key_values=cache, use_cache=True, **given).logits for t in tokens]
    assert cache.get_seq_length() == PROMPT.shape[1] + len(tokens)
    return torch.cat(found, 1).float()


@pytest.mark.parametrize("family", ["llama", "mistral", "qwen2", "qwen3"])
def test_logits_are_those_of_transformers(tmp_path, family, counted) -> None:
    made = packed_folder(tmp_path, family)
    model = haloquant.load(made, dtype=torch.float32)
    found = logits(model)
    assert counted == [3]
    wanted = logits(by_transformers(model))
    assert counted == [3]
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)
    half = haloquant.load(made, dtype=torch.bfloat16)
    # Fewer roundings to bfloat16 than in transformers: no further from the products in float32.
    ours, theirs = (float((logits(m) - wanted).norm()) for m in (half, by_transformers(half)))
    assert counted == [6]
    assert 0 < ours < 1.2 * theirs


def test_rounded_inputs_and_layers_left_in_full_precision(folder, counted) -> None:
    model = haloquant.load(folder, dtype=torch.float32, activations="int8")
    block = model.model.layers[1]
    block.mlp.up_proj = block.mlp.up_proj.to_linear()
    exact = haloquant.load(folder, dtype=torch.float32)
    found, wanted, without = logits(model), logits(by_transformers(model)), logits(by_transformers(exact))
    assert counted == [3]
    # Sums in another order may move an input to the next code, and that changes far less than rounding does.
    assert (found - wanted).norm() < 0.05 * (wanted - without).norm()


def test_generation_gives_the_same_tokens(model, counted) -> None:
    settings = {"max_new_tokens": 9, "do_sample": False}
    found = model.generate(PROMPT, **settings)
    assert counted == [8]  # the first comes with the prompt
    assert torch.equal(found, by_transformers(model).generate(PROMPT, **settings))
    several = PROMPT.repeat(2, 1)
    assert torch.equal(model.generate(several, **settings), found.repeat(2, 1))
    assert counted == [8]


def test_changes_between_two_tokens_count(model, counted) -> None:
    before = logits(model)
    copied = deepcopy(model)
    with torch.no_grad():
        model.model.layers[0].input_layernorm.weight.mul_(2)
        model.model.layers[1].mlp.down_proj.weight_scale.mul_(2)
    found = logits(model)
    assert counted == [6]
    assert not torch.allclose(found, before, atol=1e-3)
    torch.testing.assert_close(found, logits(by_transformers(model)), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(logits(copied), before)
    assert counted == [9]
    model.model.layers[0] = copied.model.layers[0]
    torch.testing.assert_close(logits(model), logits(by_transformers(model)), rtol=1e-4, atol=1e-5)
    assert counted == [12]


class Doubled(nn.Module):
    """A layer around another, as an adapter is."""

    def __init__(self, inner) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x):
        return 2 * self.inner(x)


class OtherMlp(LlamaMLP):
    """The same layers in another function."""

    def forward(self, x):
        return 2 * super().forward(x)


class OtherNorm(nn.LayerNorm):
    """A norm with the attributes of that of Llama."""

    variance_epsilon = 1e-5


def changed(model, change: str) -> None:
    block, decoder = model.model.layers[1], model.model
    if change == "hook":
        block.mlp.register_forward_hook(lambda _module, _given, found: 2 * found)
    elif change == "adapter":
        block.mlp.up_proj = Doubled(block.mlp.up_proj)
    elif change == "gelu":
        block.mlp.act_fn = nn.GELU()
    elif change == "attention":
        model.set_attn_implementation("flex_attention")
    elif change == "class":
        block.mlp.__class__ = OtherMlp
    elif change == "norm":
        block.input_layernorm = OtherNorm(64)
    elif change == "last norm":
        decoder.norm = nn.RMSNorm(64)
    elif change == "no mlp":
        block.mlp = nn.Identity()
    elif change == "fewer blocks":
        model.config.num_hidden_layers = 1
    else:
        block.mlp.forward = Doubled(deepcopy(block.mlp)).forward


CHANGES = ["hook", "adapter", "gelu", "class", "norm", "last norm", "no mlp", "fewer blocks", "forward"]


@pytest.mark.parametrize("change", CHANGES)
def test_a_model_of_another_form_is_computed_by_transformers(model, counted, change) -> None:
    with torch.inference_mode():
        cache = model(PROMPT, use_cache=True).past_key_values
        model(NEXT, past_key_values=deepcopy(cache))
        assert counted == [1]
        changed(model, change)
        found = model(NEXT, past_key_values=deepcopy(cache)).logits
        wanted = by_transformers(model)(NEXT, past_key_values=deepcopy(cache)).logits
    torch.testing.assert_close(found, wanted)
    assert counted == [1]


def test_hooks_of_all_modules_and_a_changed_class_are_heeded(model, counted, monkeypatch) -> None:
    wanted = logits(by_transformers(model))
    with monkeypatch.context() as patch:
        plain = LlamaMLP.forward
        patch.setattr(LlamaMLP, "forward", lambda self, x: 2 * plain(self, x))
        assert not torch.allclose(logits(model), wanted, atol=1e-3)
    hook = nn.modules.module.register_module_forward_hook(
        lambda module, _given, found: 2 * found if isinstance(module, LlamaMLP) else None
    )
    try:
        assert not torch.allclose(logits(model), wanted, atol=1e-3)
    finally:
        hook.remove()
    assert counted == [0]
    torch.testing.assert_close(logits(model), wanted, rtol=1e-4, atol=1e-5)
    assert counted == [3]


def test_what_is_written_past_torch_counts_after_refresh(model, counted) -> None:
    logits(model)
    layer = model.model.layers[0].mlp.gate_proj
    layer.sparse_row_count.data.copy_(layer.sparse_row_count.roll(1))
    layer.refresh()
    attention = model.model.layers[1].self_attn
    attention.scaling *= 3
    attention.q_proj.bias.data += 1
    torch.testing.assert_close(logits(model), logits(by_transformers(model)), rtol=1e-4, atol=1e-5)
    assert counted == [6]


def test_a_block_more_counts(model, counted) -> None:
    logits(model)
    more = deepcopy(model.model.layers[1])
    more.self_attn.layer_idx = 2
    model.model.layers.append(more)
    model.config.num_hidden_layers = 3
    model.config.layer_types = None
    torch.testing.assert_close(logits(model), logits(by_transformers(model)), rtol=1e-4, atol=1e-5)
    assert counted == [6]


def test_calls_that_ask_for_more_are_computed_by_transformers(model, counted) -> None:
    wanted = logits(model, [7])
    assert counted == [1]

    def one(**given):
        return model(NEXT, past_key_values=model(PROMPT).past_key_values, **given)

    with torch.inference_mode():
        assert len(one(output_hidden_states=True).hidden_states) == 3
        masked = torch.cat([torch.zeros(1, 4), torch.ones(1, PROMPT.shape[1] - 3)], 1).long()
        assert not torch.allclose(one(attention_mask=masked).logits, wanted, atol=1e-3)
        fixed = StaticCache(model.config, max_cache_len=32)
        model(PROMPT, past_key_values=fixed)
        torch.testing.assert_close(model(NEXT, past_key_values=fixed).logits, wanted, rtol=1e-4, atol=1e-5)
        cache = model(PROMPT).past_key_values
        assert isinstance(model.model(NEXT, past_key_values=cache, return_dict=False), tuple)
        assert counted == [1]
        found = one(attention_mask=torch.ones_like(masked)).logits
        torch.testing.assert_close(found, wanted)
        assert counted == [2]
        one(unknown=torch.tensor([0, 1]))
        assert counted == [2]
        far = {"position_ids": torch.tensor([[40]])}
        found, twin = one(**far).logits, by_transformers(model)
        assert (found - wanted).abs().max() > 1e-4
        same = twin(NEXT, past_key_values=twin(PROMPT).past_key_values, **far).logits
        torch.testing.assert_close(found, same, rtol=1e-4, atol=1e-5)
        assert counted == [3]
    torch.testing.assert_close(one().logits, wanted, rtol=1e-4, atol=1e-5)  # with gradients
    assert counted == [3]


@pytest.mark.parametrize("own_cache", [False, True])
def test_a_window_is_heeded(tmp_path, counted, own_cache) -> None:
    """Steps end where the next token would leave the first ones out, in a cache that knows the window or not."""
    model = haloquant.load(packed_folder(tmp_path, "mistral"), dtype=torch.float32)
    model.config.sliding_window = PROMPT.shape[1] + 3
    found = []
    for each in (model, by_transformers(model)):
        cache = DynamicCache() if own_cache else DynamicCache(config=model.config)
        with torch.inference_mode():
            each(PROMPT, past_key_values=cache)
            found.append([each(torch.tensor([[t]]), past_key_values=cache).logits for t in (7, 9, 4, 5, 6)])
    torch.testing.assert_close(found[0], found[1], rtol=1e-4, atol=1e-5)
    assert counted == [3 if own_cache else 2]


def test_a_cache_may_be_cut_copied_and_continued(model, counted) -> None:
    twin = by_transformers(model)
    found = []
    for each in (model, twin):
        with torch.inference_mode():
            cache = each(PROMPT).past_key_values
            parts = [each(NEXT, past_key_values=cache).logits for _ in range(3)]
            branch = deepcopy(cache)
            cache.crop(-2)
            parts += [each(torch.tensor([[t]]), past_key_values=cache).logits for t in (9, 4)]
            parts += [each(torch.tensor([[3, 4, 5]]), past_key_values=cache).logits]
            parts += [each(NEXT, past_key_values=each_cache).logits for each_cache in (cache, branch)]
        found.append(torch.cat(parts, 1))
    torch.testing.assert_close(found[0], found[1], rtol=1e-4, atol=1e-5)
    assert counted == [7]


def test_threads_may_share_a_model(folder) -> None:
    model = haloquant.load(folder, dtype=torch.float32)
    wanted = logits(by_transformers(model))
    with ThreadPoolExecutor(4) as pool:
        for found in pool.map(lambda _: logits(model), range(12)):
            torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)


def test_copies_and_saved_models_take_steps_too(model, counted, tmp_path) -> None:
    wanted = logits(model)
    shallow = copy(model.model)
    assert shallow.forward.__self__ is shallow
    assert next(iter(inspect.signature(model.model.forward).parameters)) == "input_ids"
    torch.save(model, tmp_path / "model.pt")
    again = torch.load(tmp_path / "model.pt", weights_only=False)
    torch.testing.assert_close(logits(again), wanted)
    assert counted == [6]
    assert "_token_step" not in vars(deepcopy(model).model)


def test_a_model_is_given_up_with_its_hooks(folder) -> None:
    model = haloquant.load(folder, dtype=torch.float32)
    logits(model)
    model.model.layers[0].register_forward_hook(lambda _module, _given, _found, seen=model: None)
    gone = ref(model.model)
    del model
    gc.collect()
    assert gone() is None
