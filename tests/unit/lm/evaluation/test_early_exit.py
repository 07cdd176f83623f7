"""Predictions after each block, and tokens that leave early: against transformers' hidden states and a real cache."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import DynamicCache

from haloquant.errors import InputError
from haloquant.lm.checkpoint.reader import open_checkpoint
from haloquant.lm.evaluation.early_exit import leave_early, predict_by_block
from haloquant.lm.evaluation.perplexity import perplexity
from haloquant.lm.packed.loading import load
from haloquant.lm.packed.reader import open_packed
from haloquant.lm.torch_model import load_model
from support.near import near
from support.tiny_model import save_gpt2, save_llama

TOKENS = 12


@pytest.fixture(scope="module")
def tiny_llama(tmp_path_factory) -> tuple[Any, tuple[str, ...]]:
    """A random Llama of three blocks whose predictions are as sure as those of a trained one, and its layers."""
    folder = save_llama(tmp_path_factory.mktemp("model") / "llama", tied=False, num_hidden_layers=3)
    model = load_model(folder)
    with torch.no_grad():
        model.lm_head.weight *= 12
        for parameter in model.model.layers.parameters():
            parameter *= 2
    return model, tuple(layer.name for layer in open_checkpoint(folder).layers)


def windows(count: int = 2) -> np.ndarray:
    return np.random.default_rng(1).integers(0, 96, (count, TOKENS))


def plain_entropy(logits: list[float]) -> tuple[float, list[float]]:
    """Entropy of softmax(logits), and the logarithms of the probabilities, term by term."""
    top = max(logits)
    total = sum(math.exp(x - top) for x in logits)
    logs = [x - top - math.log(total) for x in logits]
    return -sum(math.exp(x) * x for x in logs), logs


def test_entropies_and_losses_are_those_of_the_hidden_states_that_transformers_gives(tiny_llama) -> None:
    model, layers = tiny_llama
    text = windows()
    found = predict_by_block(model, layers, text)
    assert found.entropy.shape == found.nll.shape == (2, 3, TOKENS - 1)
    for w, window in enumerate(text):
        with torch.no_grad():
            seen = model(input_ids=torch.from_numpy(window[None]), output_hidden_states=True)
            for block in range(3):
                states = seen.hidden_states[block + 1]  # transformers gives the last one behind the norm
                logits = model.lm_head(states if block == 2 else model.model.norm(states))[0].double().tolist()
                for t in range(TOKENS - 1):
                    entropy, logs = plain_entropy(logits[t])
                    assert found.entropy[w, block, t] == near(entropy, rel=1e-4, abs=1e-6)
                    assert found.nll[w, block, t] == near(-logs[window[t + 1]], rel=1e-4, abs=1e-5)
    assert found.entropy.std() > 0.01


def decode_with_a_cache(
    model: Any, window: np.ndarray, threshold: float | None, latest: list[int] | None, first: int
) -> tuple[list[int], list[float]]:
    """One token after the other, as a decoder generates: a token that left gives its state to all later blocks, which
    keep its keys and values and nothing else."""
    cache, exits, losses = DynamicCache(), [], []
    for t, token in enumerate(window[:-1].tolist()):
        state = model.model.embed_tokens(torch.tensor([[token]]))
        place = torch.tensor([[t]])
        turned = model.model.rotary_emb(state, position_ids=place)
        left = 0
        for number, block in enumerate(model.model.layers, start=1):
            out = block(
                state, attention_mask=None, position_ids=place, past_key_values=cache, use_cache=True,
                position_embeddings=turned,
            )  # fmt: skip
            out = out[0] if isinstance(out, tuple) else out
            if left:
                continue  # only the cache of this block has changed
            state = out
            logits = model.lm_head(model.model.norm(state))[0, 0].double().tolist()
            due = latest is not None and latest[t] <= number
            sure = threshold is not None and plain_entropy(logits)[0] < threshold
            if (number >= first and (due or sure)) or number == len(model.model.layers):
                left = number
                losses.append(-plain_entropy(logits)[1][window[t + 1]])
        exits.append(left)
    return exits, losses


@pytest.mark.parametrize(
    ("tests", "predicted", "first"), [(True, False, 1), (True, False, 2), (False, True, 1), (True, True, 1)]
)
def test_leaving_early_is_what_a_decoder_with_a_cache_does(tiny_llama, tests, predicted, first) -> None:
    model, layers = tiny_llama
    text = windows()
    threshold = float(np.median(predict_by_block(model, layers, text).entropy[:, :2])) if tests else None
    latest = np.random.default_rng(2).integers(1, 4, (2, TOKENS - 1)) if predicted else None
    found = leave_early(model, layers, text, threshold, latest, first)
    with torch.no_grad():
        for w, window in enumerate(text):
            due = None if latest is None else latest[w].tolist()
            exits, losses = decode_with_a_cache(model, window, threshold, due, first)
            assert found.blocks[w].tolist() == exits
            assert found.nll[w] == near(losses, rel=1e-3, abs=1e-4)
    assert len(set(found.blocks.ravel().tolist())) > 1 and found.blocks.min() == first


def test_copied_states_change_what_later_tokens_see(tiny_llama) -> None:
    """The loss with keys of skipped blocks computed from copies is another than with the known ones."""
    model, layers = tiny_llama
    text = windows()
    known, latest = predict_by_block(model, layers, text), np.full((2, TOKENS - 1), 1)
    latest[:, -1] = 3
    found = leave_early(model, layers, text, None, latest)
    assert found.nll[:, :-1] == near(known.nll[:, 0, :-1], rel=1e-5)  # after the first block nothing was copied yet
    assert np.abs(found.nll[:, -1] - known.nll[:, -1, -1]).max() > 1e-3


def test_without_exits_all_blocks_run_and_the_model_is_as_before(tiny_llama) -> None:
    model, layers = tiny_llama
    text = windows()
    loss = perplexity(model, text.ravel(), window=TOKENS)
    found = leave_early(model, layers, text, 1e-9)
    assert (found.blocks == 3).all() and found.nll.sum(axis=1) == near(loss.nll, rel=1e-5)
    assert perplexity(model, text.ravel(), window=TOKENS).nll.tolist() == loss.nll.tolist()


def test_a_packed_model_and_one_whose_blocks_return_something_else(packed, tmp_path: Path) -> None:
    halo, gpt = load(packed), load_model(save_gpt2(tmp_path / "gpt2"))
    named = [layer.name for layer in open_checkpoint(tmp_path / "gpt2").layers]
    for model, layers in ((halo, open_packed(packed).config.layers), (gpt, named)):
        found = predict_by_block(model, layers, windows())
        loss = perplexity(model, windows().ravel(), window=TOKENS)
        assert found.entropy.shape[1] == 2 and found.nll[:, -1].sum(axis=1) == near(loss.nll, rel=1e-5)
        assert (np.abs(found.nll[:, 0] - found.nll[:, 1]) > 1e-4).any()


def test_a_model_without_a_head_of_its_own_is_refused(tiny_llama, monkeypatch: pytest.MonkeyPatch) -> None:
    model, layers = tiny_llama
    monkeypatch.setattr(model, "get_output_embeddings", lambda: None)
    with pytest.raises(
        InputError, match=r"^early exit needs a model with a head of its own that predicts tokens, and "
    ):
        predict_by_block(model, layers, windows())


def test_an_error_of_the_models_code_is_a_sentence_and_leaves_it_whole(tiny_llama) -> None:
    model, layers = tiny_llama
    with pytest.raises(InputError, match=r"^early exit needs a model \(LlamaForCausalLM\) that passes hidden states"):
        predict_by_block(model, layers, np.full((1, TOKENS), 1000))
    assert not any("forward" in vars(block) for block in model.model.layers)
