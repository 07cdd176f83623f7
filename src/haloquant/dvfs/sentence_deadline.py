"""The clock of each decode step with early exit, so that a sentence ends just in time.

A step runs the first blocks at full clock, reads the entropy of their prediction, and knows from it how many blocks are
left. EdgeBERT (arXiv 2011.14203) then sets the clock to the cycles left over the time left, and takes the lowest supply
for this clock. Here the time of a block does not follow the clock alone, as memory has a clock of its own. So
`choose_supply` takes the lowest of a regulator's supplies at which what is left ends in time, at the fastest clock of
that supply. Where memory never limits, this is EdgeBERT's rule, rounded up to a step of the supply. Static power makes
the lowest clock not always the cheapest. So the supply with the least energy can be chosen instead.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int64

from haloquant.errors import InfeasibleError, InputError
from haloquant.units import engineering


def check_deadline(period_s: float, idle_w: float) -> None:
    """Refuse a deadline that is not positive, and an idle power below 0.

    Raises:
        InputError: One of them is so.
    """
    if not period_s > 0:
        raise InputError(f"deadline must be above 0 s, not {period_s:g} s")
    if not idle_w >= 0:
        raise InputError(f"idle power must be at least 0 W, not {idle_w:g} W")


def too_short(period_s: float, least_s: float) -> InfeasibleError:
    """Return the error of a deadline that is shorter than the shortest possible one; both in s."""
    return InfeasibleError(
        f"deadline must be at least {engineering(least_s, 's', 4)}, the fastest this machine can do, "
        f"not {engineering(period_s, 's', 4)}"
    )


@dataclass(frozen=True)
class BlockCosts:
    """Time in s and energy in J, in the last axis, of the parts of one decode step at each supply.

    The machine's own supply is first, the lowest last. `keys` is what a block costs that a token skips: its keys and
    values are computed from the copied state. `head` is the final norm and head, run once for each prediction or
    entropy. `switch` is a change of the supply.
    """

    blocks: Float64[np.ndarray, "supplies blocks 2"]
    keys: Float64[np.ndarray, "supplies blocks 2"]
    head: Float64[np.ndarray, "supplies 2"]
    switch: Float64[np.ndarray, " 2"]

    def part(self, supply: int, first: int, last: int, heads: int) -> Float64[np.ndarray, " 2"]:
        """Return the cost of blocks `first` + 1 to `last`, and of the head `heads` times."""
        return self.blocks[supply, first:last].sum(axis=0) + heads * self.head[supply]

    def skipped(self, supply: int, last: int) -> Float64[np.ndarray, " 2"]:
        """Return the cost of keys and values of all blocks after `last`."""
        return self.keys[supply, last:].sum(axis=0)


@dataclass(frozen=True)
class Clock:
    """How the supply of a step is chosen, so that it ends within `period_s`.

    `least_energy` takes the supply that needs least, with `idle_w` in W until the period is over. Else it is the lowest
    supply in time, as EdgeBERT does.
    """

    period_s: float
    idle_w: float
    least_energy: bool = False


def choose_supply(costs: BlockCosts, first: int, last: int, heads: int, clock: Clock, elapsed_s: float = 0.0) -> int:
    """Return the supply, by its index, at which blocks `first` + 1 to `last` end in time.

    The head runs `heads` times, and keys and values of the blocks after `last` are computed. If blocks have run before,
    the supply is changed and changed back within the time, where it is not the machine's own. The machine's own supply
    is returned if none is in time.
    """
    left_s, best, least_j = clock.period_s - elapsed_s, 0, np.inf
    for supply in range(len(costs.head)):
        changes = 2 * costs.switch if supply and first else 0.0
        time_s, energy_j = costs.part(supply, first, last, heads) + costs.skipped(supply, last) + changes
        energy_j += clock.idle_w * (left_s - time_s)
        if time_s <= left_s * (1 + 1e-12) and (not clock.least_energy or energy_j < least_j):
            best, least_j = supply, energy_j
    return best


def early_exit_step(
    costs: BlockCosts, first_block: int, predicted: int, left: int, tested: bool, clock: Clock | None
) -> Float64[np.ndarray, " 2"]:
    """Return time and energy of a decode step that leaves after block `left`.

    Args:
        costs: Cost of the parts at each supply.
        first_block: Blocks that run at the machine's own supply before the entropy is read.
        predicted: The block after which the token leaves at the latest.
        left: The block after which it leaves, at most `predicted`.
        tested: Whether the entropy is read after each of the later blocks too. Else the head runs once more, after
            `left`.
        clock: How the supply of the later blocks is chosen; None keeps the machine's own.
    """
    begun = costs.part(0, 0, first_block, 1)
    if left == first_block:
        return begun + costs.skipped(0, left)
    supply = 0
    if clock is not None:
        heads = predicted - first_block if tested else 1
        supply = choose_supply(costs, first_block, predicted, heads, clock, begun[0])
    rest = costs.part(supply, first_block, left, left - first_block if tested else 1) + costs.skipped(supply, left)
    return begun + rest + (2 * costs.switch if supply else 0.0)


def whole_step(costs: BlockCosts, clock: Clock | None) -> Float64[np.ndarray, " 2"]:
    """Return time and energy of a step of all blocks at one supply; None is the machine's own."""
    count = costs.blocks.shape[1]
    return costs.part(0 if clock is None else choose_supply(costs, 0, count, 1, clock), 0, count, 1)


def check_step(costs: BlockCosts, first_block: int, period_s: float, idle_w: float) -> None:
    """Refuse a deadline that no step meets, not even one that leaves at the first chance at full clock.

    Raises:
        InfeasibleError: There is no such step. The error names the shortest possible deadline.
        InputError: The deadline is not positive, or the idle power is negative.
    """
    check_deadline(period_s, idle_w)
    least_s = float(early_exit_step(costs, first_block, first_block, first_block, False, None)[0])
    if least_s > period_s:
        raise too_short(period_s, least_s)


@dataclass(frozen=True)
class SentenceRow:
    """Sentences under a deadline, run in one way. A sentence of n tokens has n times the time of a token.

    Attributes:
        way: Which blocks run, and at which clock.
        token_j: Mean energy in J per token, idling until the deadline included.
        median_j: Median energy of a sentence.
        p95_j: Energy that 95 % of the sentences do not pass.
        median_s: Median busy time of a sentence in s.
        p95_s: Busy time that 95 % of the sentences do not pass.
        late_tokens: Share of tokens whose step takes longer than the time of a token.
        late_sentences: Number of sentences that miss their deadline.
    """

    way: str
    token_j: float
    median_j: float
    p95_j: float
    median_s: float
    p95_s: float
    late_tokens: float
    late_sentences: int


def sentence_row(
    way: str, steps: Float64[np.ndarray, "tokens 2"], lengths: Sequence[int], period_s: float, idle_w: float
) -> SentenceRow:
    """Return what sentences cost whose steps take these times and energies.

    Args:
        way: A name.
        steps: Time in s and energy in J of each step.
        lengths: Steps of each sentence; their sum is the number of steps.
        period_s: Time of one step under the deadline.
        idle_w: Power in W from the end of a sentence to its deadline.
    """
    starts = np.concatenate([[0], np.cumsum(lengths)[:-1]])
    busy_s, energy_j = np.add.reduceat(steps, starts, axis=0).T
    limit_s = period_s * np.asarray(lengths)
    whole_j = energy_j + idle_w * np.maximum(0.0, limit_s - busy_s)
    (median_s, p95_s), (median_j, p95_j) = (np.quantile(part, (0.5, 0.95)).tolist() for part in (busy_s, whole_j))
    late = float((steps[:, 0] > period_s * (1 + 1e-9)).mean())
    missed = int((busy_s > limit_s * (1 + 1e-9)).sum())
    return SentenceRow(way, float(whole_j.sum()) / len(steps), median_j, p95_j, median_s, p95_s, late, missed)


def sentence_rows(
    costs: BlockCosts,
    first_block: int,
    exits: tuple[Int64[np.ndarray, " tokens"], Int64[np.ndarray, " tokens"], Int64[np.ndarray, " tokens"]],
    lengths: Sequence[int],
    period_s: float,
    idle_w: float,
) -> tuple[SentenceRow, ...]:
    """Return the ways of running sentences, those without early exit first.

    Args:
        costs: Cost of the parts at each supply.
        first_block: The block after which an entropy is read first.
        exits: Exit block of every token: by tests alone, as predicted, and as predicted or earlier by tests.
        lengths: Tokens of each sentence.
        period_s: Time of one token under the deadline.
        idle_w: Power in W from the end of a sentence to its deadline.

    Raises:
        InfeasibleError: Not even a step that leaves at the first chance ends in time.
        InputError: The period is not positive, or the idle power is negative.
    """
    check_step(costs, first_block, period_s, idle_w)
    count = costs.blocks.shape[1]
    tested, predicted, both = exits
    last = np.full(len(tested), count)

    lowest, cheapest = Clock(period_s, idle_w), Clock(period_s, idle_w, least_energy=True)
    clocks = ((None, "full clock"), (lowest, "lowest clock in time"), (cheapest, "least energy in time"))
    rows: list[SentenceRow] = []
    for clock, said in clocks:
        steps = np.tile(whole_step(costs, clock), (len(last), 1))
        rows.append(sentence_row(f"all blocks, {said}", steps, lengths, period_s, idle_w))
    for way, bound, left, tests, some in (
        ("leave by entropy", last, tested, True, clocks[:1]),
        ("leave as predicted", predicted, predicted, False, clocks),
        ("leave as predicted or by entropy", predicted, both, True, clocks),
    ):
        pairs, place = np.unique(np.stack([bound, left], axis=1), axis=0, return_inverse=True)
        for clock, said in some:
            by_pair = [early_exit_step(costs, first_block, p, e, tests, clock) for p, e in pairs.tolist()]
            steps = np.array(by_pair)[place.reshape(-1)]
            rows.append(sentence_row(f"{way}, {said}", steps, lengths, period_s, idle_w))
    return tuple(rows)
