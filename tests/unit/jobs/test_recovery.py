"""Which windows train and which are held out, and which texts overlap."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from haloquant.errors import InputError
from haloquant.jobs.inputs import Text
from haloquant.jobs.recovery import check_vocabulary, overlaps, split_windows


def text(count: int) -> Text:
    return Text("words", np.arange(count), "0" * 64)


@pytest.mark.parametrize(("windows", "held_out"), [(2, 1), (15, 1), (16, 2), (64, 8), (1000, 8)])
def test_held_out_windows_are_whole_windows_that_do_not_train(windows: int, held_out: int) -> None:
    training, kept = split_windows(text(10 * windows + 3), 10)
    assert kept.shape == (held_out, 10) and training.shape == (windows - held_out, 10)
    both = np.sort(np.concatenate([training.ravel(), kept.ravel()]))
    np.testing.assert_array_equal(both, np.arange(10 * windows))
    assert (np.diff(kept, axis=1) == 1).all() and (kept[:, 0] % 10 == 0).all()


def test_a_text_that_is_too_short() -> None:
    with pytest.raises(InputError, match=r"^the training text must have at least 20 tokens, .* but words has 19"):
        split_windows(text(19), 10)


def test_texts_that_overlap(tmp_path: Path) -> None:
    for name, words in (("a", "one two three"), ("b", "two"), ("c", "four")):
        (tmp_path / f"{name}.txt").write_text(words)
    a, b, c = (str(tmp_path / f"{name}.txt") for name in "abc")
    assert overlaps(a, a) and overlaps(a, b) and overlaps(b, a) and not overlaps(a, c)
    assert not overlaps("demo", "demo")  # the shipped texts for calibration and for evaluation are two


def test_vocabularies_must_be_equal() -> None:
    small, large = (SimpleNamespace(config=SimpleNamespace(vocab_size=size)) for size in (96, 97))
    check_vocabulary(small, small)
    with pytest.raises(InputError, match=r"^the teacher must have the packed model's vocabulary of 96 tokens, not 97$"):
        check_vocabulary(small, large)
