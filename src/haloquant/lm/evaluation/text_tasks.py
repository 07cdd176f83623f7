"""Tasks with right and wrong answers that are made from any prose: no data set is needed.

`last-word` asks for the last word of a passage, as LAMBADA does (arXiv 1606.06031). `next-passage` asks which of four
passages follows, as HellaSwag does (arXiv 1905.07830); the three wrong ones are taken from other places of the same
text. The same text always gives the same questions. Scores of different texts, or of the data sets named above, cannot
be compared: wrong passages from elsewhere are easier to tell than those of HellaSwag.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from haloquant.errors import InputError

QUESTIONS = 400  # of each task, where the text has as many
CHOICES = 4
CONTEXT_WORDS = 60  # a passage before a question has this many words, and ends with a sentence
ANSWER_WORDS = 15  # of a passage that is an answer
LETTERS = 4  # of a last word that is asked for, at least
_SENTENCE = re.compile(r"""(?<=[.!?])["'”’)\]]*\s+(?=["'“‘(]*[A-Z])""")
_LAST = re.compile(r"""^(.*\s)([A-Za-z]+)\s?[.!?]+["'”’)\]]*$""", re.DOTALL)


@dataclass(frozen=True)
class TextTask:
    """A task of lm-eval.

    Attributes:
        documents: its questions.
        rules: how lm-eval asks and scores them, as in a task file.
    """

    documents: Sequence[Mapping[str, Any]]
    rules: Mapping[str, Any]


def last_word(text: str) -> TextTask:
    """Return a task that asks for the last word of passages; the word also occurs earlier in its passage.

    lm-eval's `acc` counts the words that the model's most likely tokens spell; `perplexity` is that of the words.

    Args:
        text: prose with sentences.

    Raises:
        InputError: The text has no such passage.
    """
    found = []
    for start, end in _passages(text, CONTEXT_WORDS):
        match = _LAST.match(text[start:end].strip())
        if match and len(match[2]) >= LETTERS and re.search(rf"\b{match[2]}\b", match[1]):
            found.append({"context": match[1].rstrip(), "word": match[2]})
    rules = {
        "task": "last-word",
        "output_type": "loglikelihood",
        "doc_to_text": "{{context}}",
        "doc_to_target": "{{' ' + word}}",  # lm-eval puts no space before the answers of this output type
        "metric_list": [{"metric": "acc"}, {"metric": "perplexity"}],
    }
    return TextTask(_spread(found, "passage that ends with a word which it has before"), rules)


def next_passage(text: str) -> TextTask:
    """Return a task that asks which of four passages follows; all four begin with a sentence and are equally long.

    lm-eval's `acc` takes the most likely passage, `acc_norm` the most likely per character.

    Args:
        text: prose with sentences.

    Raises:
        InputError: The text has fewer than four such places.
    """
    places = _passages(text, CONTEXT_WORDS)
    answers = [_words(text, end, ANSWER_WORDS) for _, end in places]
    whole = [n for n, answer in enumerate(answers) if answer is not None]
    if len(whole) < CHOICES:
        raise InputError(
            f"a text for next-passage must have {CHOICES} passages of {CONTEXT_WORDS} words and {ANSWER_WORDS} words "
            f"after each, not {len(whole)}; take a longer text"
        )
    draw = np.random.default_rng(0)
    found = []
    for n in whole:
        wrong = draw.choice([k for k in whole if k != n], CHOICES - 1, replace=False)
        right = int(draw.integers(CHOICES))
        choices = [answers[k] for k in wrong]
        choices.insert(right, answers[n])
        found.append({"context": text[places[n][0] : places[n][1]].strip(), "choices": choices, "label": right})
    rules = {
        "task": "next-passage",
        "output_type": "multiple_choice",
        "doc_to_text": "{{context}}",
        "doc_to_choice": "choices",
        "doc_to_target": "label",
        "metric_list": [{"metric": "acc"}, {"metric": "acc_norm"}],
    }
    return TextTask(_spread(found, "passage"), rules)


def _passages(text: str, words: int) -> list[tuple[int, int]]:
    """Return where passages begin and end: whole sentences, at least `words` words each, none overlapping."""
    cuts = [0, *(match.end() for match in _SENTENCE.finditer(text)), len(text)]
    found, first = [], 0
    for begin, end in pairwise(cuts):
        if len(text[first:begin].split()) >= words:
            found.append((first, begin))
            first = begin
        if len(text[begin:end].split()) > words:  # A list or a table, not a sentence.
            first = end
    if len(text[first:].split()) >= words:
        found.append((first, len(text)))
    return found


def _words(text: str, start: int, count: int) -> str | None:
    """Return the next `count` words from a place on with single spaces; None where the text ends before."""
    words = text[start : start + 40 * count].split()[:count]
    return " ".join(words) if len(words) == count else None


def _spread(found: Sequence[Mapping[str, Any]], what: str) -> list[Mapping[str, Any]]:
    """Return at most `QUESTIONS` questions, evenly spread over the text."""
    if not found:
        raise InputError(
            f"the text must be prose with at least one {what}, of {CONTEXT_WORDS} words; take a longer text"
        )
    chosen = np.linspace(0, len(found) - 1, min(QUESTIONS, len(found))).round().astype(int)
    return [found[n] for n in chosen]
