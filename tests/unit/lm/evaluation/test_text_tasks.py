"""Questions that are made from a text: what is asked stands in the text, and the right answer follows it."""

import numpy as np
import pytest

from haloquant.errors import InputError
from haloquant.lm.evaluation.text_tasks import ANSWER_WORDS, CONTEXT_WORDS, QUESTIONS, last_word, next_passage

NAMES = ("keeper", "lantern", "harbour", "sailor", "morning", "window", "garden", "letter", "market", "mountain")


def story(sentences: int) -> str:
    """Return sentences of twelve words without a meaning; the last word of each stands in it twice."""
    draw = np.random.default_rng(3)
    lines = []
    for number in range(sentences):
        names = [NAMES[k] for k in draw.permutation(10)[:9]]
        lines.append(f"The {' '.join(names)} {number} {names[0]}.")
    return " ".join(lines)


def test_a_last_word_ends_its_passage_and_stands_in_it_before() -> None:
    text = story(100)
    task = last_word(text)
    assert len(task.documents) == 20  # five sentences each
    for asked in task.documents:
        assert f"{asked['context']} {asked['word']}." in text
        assert asked["word"] in asked["context"] and len(asked["context"].split()) >= CONTEXT_WORDS - 1


def test_the_right_passage_follows_and_the_others_do_not() -> None:
    text = story(100)
    task = next_passage(text)
    labels = [asked["label"] for asked in task.documents]
    assert len(task.documents) == 19 and set(labels) == {0, 1, 2, 3}  # nothing follows the last passage
    for asked in task.documents:
        follows = [f"{asked['context']} {choice}" in text for choice in asked["choices"]]
        assert follows == [k == asked["label"] for k in range(4)]
        assert all(len(choice.split()) == ANSWER_WORDS for choice in asked["choices"])


def test_the_same_text_gives_the_same_questions_and_no_more_than_asked_for() -> None:
    text = story(3000)
    assert next_passage(text) == next_passage(text) and last_word(text) == last_word(text)
    assert len(next_passage(text).documents) == len(last_word(text).documents) == QUESTIONS


def test_passages_do_not_run_through_a_table() -> None:
    table = " ".join(str(k) for k in range(200)) + "."
    asked = last_word(f"{story(20)} {table} {story(20)}").documents
    assert asked and all("150" not in document["context"] for document in asked)


@pytest.mark.parametrize("text", ["", "one two three", story(6)])
def test_a_text_that_is_too_short_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="take a longer text"):
        next_passage(text)


def test_a_text_without_sentences_has_no_last_words() -> None:
    with pytest.raises(InputError, match="must be prose"):
        last_word("word " * 1000)
