"""Perplexity against a plain loop, against the loss of transformers, and against figures measured independently."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from haloquant.errors import InputError  # noqa: E402
from haloquant.lm.checkpoint.reader import open_checkpoint  # noqa: E402
from haloquant.lm.evaluation.perplexity import default_window, perplexity  # noqa: E402
from haloquant.lm.evaluation.rounded_activations import activations_per_tensor, activations_per_token  # noqa: E402
from haloquant.lm.swap_weights import with_weights  # noqa: E402
from haloquant.lm.text import load_text, tokenize  # noqa: E402
from haloquant.lm.torch_model import load_model  # noqa: E402
from haloquant.records import LayerStatistics  # noqa: E402
from support.draws import daily  # noqa: E402
from support.tiny_model import iterate_weights  # noqa: E402


@pytest.fixture(scope="module")
def folder(find_data: Callable[[str], Path]) -> Path:
    return find_data("models/stories260K")


@pytest.fixture(scope="module")
def model(folder: Path) -> Any:
    return load_model(folder)


@pytest.fixture(scope="module")
def tokens(find_data: Callable[[str], Path], folder: Path) -> np.ndarray:
    return tokenize(folder, load_text(find_data("text/tinystories_valid.txt.xz")))


def loop(model: Any, tokens: np.ndarray, window: int) -> tuple[float, int]:
    """The slow twin: one window, one token at a time."""
    total, count = 0.0, 0
    for start in range(0, len(tokens) - window + 1, window):
        ids = tokens[start : start + window]
        with torch.no_grad():
            logits = model(input_ids=torch.from_numpy(ids[None])).logits[0].double()
        for position in range(1, window):
            row = logits[position - 1]
            total += float(torch.logsumexp(row, 0) - row[ids[position]])
            count += 1
    return math.exp(total / count), count


def test_it_equals_a_plain_loop_and_the_loss_of_transformers(model: Any, tokens: np.ndarray) -> None:
    text = tokens[:300]
    found = perplexity(model, text, 64)
    value, count = loop(model, text, 64)
    assert found.value == pytest.approx(value, rel=1e-6)
    assert int(found.scored[found.full_windows].sum()) == count == 4 * 63
    assert (found.scored.sum(), found.tokens, found.window) == (4 * 63 + 43, 300, 64)
    ids = torch.from_numpy(text[256:][None])
    with torch.no_grad():
        last = float(model(input_ids=ids, labels=ids).loss)
    assert float(found.nll[-1]) == pytest.approx(last * 43, rel=1e-6)
    assert found.describe() == (
        "252 tokens predicted in 4 windows of 64 (windows) of a text of 300 tokens, without the shorter rest at its "
        "end, computed in float32"
    )


def test_with_bos_every_token_is_predicted_once(model: Any, tokens: np.ndarray) -> None:
    found = perplexity(model, tokens[1:301], 64, bos=1)
    assert found.scored.sum() == 300
    rows = [np.insert(tokens[1 + i : 1 + min(i + 63, 300)], 0, 1) for i in range(0, 300, 63)]
    total = 0.0
    for row in rows:
        ids = torch.from_numpy(row[None])
        with torch.no_grad():
            total += float(model(input_ids=ids, labels=ids).loss) * (len(row) - 1)


PUBLISHED = [(3, 25.0), (None, 4.230), (4, 5.012), (8, 4.233)]


@pytest.mark.slow
@pytest.mark.thinned
@pytest.mark.parametrize(("bits", "published"), daily(PUBLISHED, PUBLISHED[:2]))
def test_figures_measured_by_others(
    model: Any, folder: Path, tokens: np.ndarray, bits: int | None, published: float
) -> None:
    """The first 60,000 tokens, context 256, weights rounded to nearest per output channel."""
    weights = {}
    for layer, weight in iterate_weights(open_checkpoint(folder)) if bits else ():
        top = 2 ** (bits - 1) - 1
        scale = np.abs(weight).max(1, keepdims=True) / top
        weights[layer.name] = np.rint(weight / scale) * scale
    with with_weights(model, weights):
        found = perplexity(model, tokens[1:60001], 256, bos=1)
    assert found.scored.sum() == 60000
    assert found.value == pytest.approx(published, abs=0.0006 if published < 10 else 0.06)


def test_a_sample_says_so(model: Any, tokens: np.ndarray) -> None:
    calls = []
    found = perplexity(
        model, tokens[:2000], 100, max_windows=4, progress=lambda done, total: calls.append((done, total))
    )
    assert found.sampled and len(found.nll) == 4 and "a sample of 4 windows" in found.describe()
    assert calls[-1] == (4, 4)
    assert not perplexity(model, tokens[:200], 100, max_windows=4).sampled
    assert found.standard_error > 0


def test_the_window_is_the_models_length_at_most_2048(model: Any) -> None:
    assert default_window(model) == 512


@pytest.mark.parametrize(
    ("text", "options", "sentence"),
    [
        ([], {}, "the text must have at least 2 tokens, not 0"),
        ([5], {}, "the text must have at least 2 tokens, not 1"),
        ([5, 512], {}, "must be below the model's vocabulary of 512, not 512: the tokenizer belongs to another model"),
        ([5, 6], {"window": 1}, "the window must be at least 2 tokens, not 1"),
        ([5, 6, 7], {"window": 2, "max_windows": 0}, "the number of windows must be at least 1, not 0"),
    ],
)
def test_texts_that_cannot_be_scored(model: Any, text: list[int], options: dict, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        perplexity(model, np.array(text, np.int64), **options)


def test_rounded_activations_act_and_go_again(model: Any, folder: Path, tokens: np.ndarray) -> None:
    """Rounding moves the loss of a window up or down by an amount in proportion to its step, at first order.

    The sum over windows nearly cancels, and the rounding of the processor decides its sign and size. So the mean square
    over windows is compared. 62 windows give its root to 1 / sqrt(2 * 62) = 9 %, and a ratio of two to 13 %. A factor
    of 2 is 5 standard deviations of the ratio. The second order is the harm: it grows with the square of the step.
    """
    names = [layer.name for layer in open_checkpoint(folder).layers]
    text = tokens[:8000]
    before = perplexity(model, text, 128)
    spread, harm = {}, {}
    for bits in (4, 8, 12, 16):
        with activations_per_token(model, names, bits=bits):
            found = perplexity(model, text, 128)
        moved = (found.nll - before.nll)[found.full_windows]
        spread[bits], harm[bits] = float(np.sqrt((moved**2).mean())), found.value - before.value
    for coarse, fine in ((8, 12), (8, 16)):
        steps = (2 ** (fine - 1) - 1) / (2 ** (coarse - 1) - 1)
        assert steps / 2 < spread[coarse] / spread[fine] < steps * 2
    assert harm[4] > 0.5  # 1.3 to 1.4 in eight pieces of this text
    # The harm of 8 bits is that of 4 over the square of the ratio of their steps. The mean of the first order is added.
    first_order = before.value * spread[8] * math.sqrt(len(before.nll)) / before.scored.sum()
    assert abs(harm[8]) < 2 * harm[4] * (7 / 127) ** 2 + 5 * first_order
    assert perplexity(model, text, 128).value == before.value


def test_rounding_is_what_the_formula_says(model: Any, folder: Path) -> None:
    layer = open_checkpoint(folder).layers[0].name
    module = model.get_submodule(layer)
    x = torch.tensor([[1.0, -0.5, 0.26, 0.0] * 16, [0.0] * 64])
    with torch.no_grad():
        plain = module(torch.tensor([1.0, -64 / 127, 33 / 127, 0.0] * 16))
        with activations_per_token(model, [layer]):
            torch.testing.assert_close(module(x)[0], plain)
            assert not module(x)[1].any()
        statistics = {layer: LayerStatistics(layer, 1, input_absmax=np.full(64, 0.5, np.float32))}
        with activations_per_tensor(model, statistics):
            clipped = torch.tensor([0.5, -0.5, 66 / 254, 0.0] * 16)
            torch.testing.assert_close(module(x)[0], module.weight @ clipped)
        scale = {layer: np.array([2.0, 1, 1, 1] * 16, np.float32)}
        with activations_per_token(model, [layer], input_scale=scale):
            halved = torch.tensor([2 * 0.5, -0.5, 66 / 254, 0.0] * 16)
            torch.testing.assert_close(module(x)[0], module.weight @ halved)
    with (
        pytest.raises(InputError, match="static activation scales need the calibrated maxima of"),
        activations_per_tensor(model, {layer: LayerStatistics(layer, 0)}),
    ):
        pass
    with (
        pytest.raises(InputError, match="activations must have 2 to 16 bits, not 1"),
        activations_per_token(model, [], 1),
    ):
        pass
