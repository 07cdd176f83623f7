"""Sets of words to try: uniform grids, powers of two, E2M1, and sets that are chosen for the model's weights."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from haloquant.dvfs.operating_points import delays_of
from haloquant.errors import InputError
from haloquant.quant.codebook import WeightSample, select_codebook
from haloquant.records import MacProfile, OperatingPoint

SIZES = (8, 9, 12, 16)  # words of the chosen sets
MOST_WORDS = 16  # of a class in the packed format
NAMED: Mapping[str, tuple[int, ...]] = {
    "INT4": tuple(range(-8, 8)),
    "INT4 symmetric": tuple(range(-7, 8)),
    "uniform 12": tuple(range(-6, 6)),
    "uniform 9": tuple(range(-4, 5)),
    "INT3": tuple(range(-4, 4)),
    "E2M1": (-12, -8, -6, -4, -3, -2, -1, 0, 1, 2, 3, 4, 6, 8, 12),
    "powers of two, 9": (-8, -4, -2, -1, 0, 1, 2, 4, 8),
    "powers of two, 8": (-8, -4, -2, -1, 0, 1, 2, 4),
}


@dataclass(frozen=True, order=True)
class WordSet:
    """A set of words, ascending, and its name."""

    words: tuple[int, ...]
    name: str

    def held_by(self, profile: MacProfile) -> bool:
        """Return whether a MAC multiplies all words."""
        return set(self.words) <= set(profile.weights.tolist())


def check_held(words: Sequence[int], profiles: Sequence[MacProfile]) -> None:
    """Check that some element holds all words of a set.

    Raises:
        InputError: None does.
    """
    named = WordSet(tuple(words), "given words")
    if not any(named.held_by(profile) for profile in profiles):
        best = max(profiles, key=lambda profile: np.isin(words, profile.weights).sum())
        lacking = next(word for word in words if word not in best.weights)
        raise InputError(
            f"a set of words must be held by one element; {best.name} comes nearest and lacks {lacking}; "
            "characterize an element that holds it, or change the words"
        )


def word_sets(
    profiles: Iterable[MacProfile],
    sample: WeightSample,
    given: Sequence[Sequence[int]] = (),
    sizes: Sequence[int] = SIZES,
) -> list[WordSet]:
    """Return the sets of words to try, each once, that some profile holds.

    Args:
        profiles: The elements.
        sample: Weights of the model. For each set of values that an element holds, the words with the least error are
            chosen.
        given: Further sets.
        sizes: Numbers of words of these chosen sets.
    """
    profiles = list(profiles)
    found = {words: name for name, words in NAMED.items()}
    found |= {tuple(words): f"given {len(words)}" for words in given if tuple(words) not in found}
    for profile in {tuple(profile.weights.tolist()): profile for profile in profiles}.values():
        for size in sizes:
            if size >= profile.weights.size:
                continue
            slack = np.zeros(profile.weights.size)
            point = OperatingPoint(1.0, 1.0 / float(delays_of(profile, 0, profile.weights).max()))
            book = select_codebook(profile.weights, sample, name="chosen words", point=point, slack_s=slack, size=size)
            found.setdefault(tuple(book.values.tolist()), f"chosen {book.values.size} of {profile.weights.size}")
    sets = [WordSet(words, name) for words, name in found.items()]
    return sorted(each for each in sets if any(each.held_by(profile) for profile in profiles))
