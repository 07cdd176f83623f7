"""Steps and sentences with early exit under a deadline, worked by hand."""

import numpy as np
import pytest

from haloquant.dvfs.sentence_deadline import (
    BlockCosts,
    Clock,
    check_step,
    choose_supply,
    early_exit_step,
    sentence_row,
    sentence_rows,
    whole_step,
)
from haloquant.errors import InfeasibleError, InputError
from support.near import near

# Three supplies; clocks of 1, 1/2 and 1/4: four blocks of 10, 20 and 40 s and of 8, 4 and 2 J each, keys of a tenth,
# a head of 5, 10 and 20 s and of 4, 2 and 1 J. A change of the supply takes 1 s and 0.5 J.
SLOWER, LESS = np.array([1.0, 2.0, 4.0]), np.array([1.0, 0.5, 0.25])
BLOCK, HEAD = np.stack([10 * SLOWER, 8 * LESS], axis=1), np.stack([5 * SLOWER, 4 * LESS], axis=1)
COSTS = BlockCosts(
    np.repeat(BLOCK[:, None], 4, axis=1), np.repeat(BLOCK[:, None] / 10, 4, axis=1), HEAD, np.array([1.0, 0.5])
)


def test_all_blocks_take_the_lowest_clock_in_time() -> None:
    assert whole_step(COSTS, None).tolist() == [45.0, 36.0]
    assert whole_step(COSTS, Clock(180.0, 0.0)).tolist() == [180.0, 9.0]
    assert whole_step(COSTS, Clock(179.0, 0.0)).tolist() == [90.0, 18.0]
    assert whole_step(COSTS, Clock(44.0, 0.0)).tolist() == [45.0, 36.0]  # no clock is in time: full clock, late


def test_the_clock_is_what_is_left_over_the_time_left() -> None:
    """Blocks 2 and 3 with one head and the keys of block 4 are 20 + 5 + 1 s at full clock, 52 at the half, 104 at the
    quarter; 2 s change the supply there and back."""
    assert [choose_supply(COSTS, 1, 3, 1, Clock(left, 0.0)) for left in (106.0, 105.9, 54.0, 53.9, 1.0)] == [
        2,
        1,
        1,
        0,
        0,
    ]
    # cycles left over time left, for 26 cycles at a full clock of 1 Hz
    for left, supply in ((106.0, 2), (80.0, 1)):
        needed_hz = 26.0 / (left - 2.0)
        clocks = [1.0, 0.5, 0.25]
        assert supply == max(i for i, clock in enumerate(clocks) if clock >= needed_hz)


def test_steps_by_hand() -> None:
    # it leaves at the first chance: block 1, head, keys of three blocks
    first = early_exit_step(COSTS, 1, 1, 1, False, Clock(1e9, 0.0))
    assert first == near([10 + 5 + 3, 8 + 4 + 2.4])
    # tests after blocks 1, 2 and 3 at full clock, keys of block 4
    assert early_exit_step(COSTS, 1, 4, 3, True, None) == near([30 + 15 + 1, 24 + 12 + 0.8])
    # predicted 3: 15 s at full clock, then 26 s of work at a quarter, two changes
    assert early_exit_step(COSTS, 1, 3, 3, False, Clock(121.0, 0.0)) == near(
        [15 + 104 + 2, 12 + (16 + 4 + 0.8) / 4 + 1]
    )
    assert early_exit_step(COSTS, 1, 3, 3, False, Clock(120.9, 0.0)) == near([15 + 52 + 2, 12 + (16 + 4 + 0.8) / 2 + 1])
    assert early_exit_step(COSTS, 1, 3, 3, False, Clock(68.0, 0.0)) == near([15 + 26, 12 + 16 + 4 + 0.8])
    # predicted 3 with tests, which plan two heads: 31 s of work, 62 at the half; it leaves after block 2 already
    assert early_exit_step(COSTS, 1, 3, 2, True, Clock(79.0, 0.0)) == near(
        [15 + 2 * (10 + 5 + 2) + 2, 12 + (8 + 4 + 1.6) / 2 + 1]
    )


def test_the_least_energy_counts_what_idling_costs() -> None:
    """All blocks take 45, 90 and 180 s and 36, 18 and 9 J; each further second costs the idle power."""

    def chosen(idle_w: float, period_s: float = 200.0) -> int:
        return choose_supply(COSTS, 0, 4, 1, Clock(period_s, idle_w, least_energy=True))

    assert (chosen(0.0), chosen(0.0, 100.0), chosen(0.0, 20.0)) == (2, 1, 0)
    dear = BlockCosts(COSTS.blocks, COSTS.keys, HEAD * [1.0, 0.0] + [[0.0, 0.0], [0.0, 0.0], [0.0, 9.5]], COSTS.switch)
    # 32, 16 and 17.5 J for 45, 90 and 180 s: the half clock, until idling for 90 s costs more than 1.5 J
    for idle_w, supply in ((0.0, 1), (0.016, 1), (0.017, 2)):
        clock = Clock(200.0, idle_w, least_energy=True)
        assert choose_supply(dear, 0, 4, 1, clock) == supply
        assert choose_supply(dear, 0, 4, 1, Clock(200.0, idle_w)) == 2
    # a change of the supply and back is counted: block 2 and a head take 12, 6 and 3 J, two changes 20 J
    changed = BlockCosts(COSTS.blocks, 0 * COSTS.keys, HEAD, np.array([0.0, 10.0]))
    assert choose_supply(changed, 1, 2, 1, Clock(1e3, 0.0, least_energy=True)) == 0


def test_sentences_by_hand() -> None:
    steps = np.array([[3.0, 1.0], [1.0, 1.0], [5.0, 4.0], [2.0, 2.0]])
    row = sentence_row("way", steps, [3, 1], 3.0, 0.5)  # 9 s in time for three tokens, 3 s for one
    assert (row.late_tokens, row.late_sentences) == (0.25, 0)
    assert row.token_j == near((6.0 + (2.0 + 0.5 * 1.0)) / 4) and row.median_s == near((9 + 2) / 2)
    assert row.median_j == near((6.0 + 2.5) / 2) and row.p95_j == near(2.5 + 0.95 * 3.5)
    assert sentence_row("way", steps, [3, 1], 2.9, 0.5).late_sentences == 1


def plain_rows(exits, lengths: list[int], period: float, idle_w: float) -> list[tuple[float, int]]:
    """Energy per token and late sentences of each way, token by token."""
    clocks = (None, Clock(period, idle_w), Clock(period, idle_w, True))
    found = []
    for way in range(10):
        joules, late, at = 0.0, 0, 0
        for length in lengths:
            busy = 0.0
            for token in range(at, at + length):
                tested, predicted, both = (int(part[token]) for part in exits)
                if way < 3:
                    cost = whole_step(COSTS, clocks[way])
                elif way == 3:
                    cost = early_exit_step(COSTS, 1, 4, tested, True, None)
                elif way < 7:
                    cost = early_exit_step(COSTS, 1, predicted, predicted, False, clocks[way - 4])
                else:
                    cost = early_exit_step(COSTS, 1, predicted, both, True, clocks[way - 7])
                busy, joules = busy + cost[0], joules + cost[1]
            joules += idle_w * max(0.0, length * period - busy)
            late += busy > length * period
            at += length
        found.append((joules / sum(lengths), late))
    return found


@pytest.mark.parametrize("period", [20.0, 44.0, 60.0, 100.0, 400.0])
def test_rows_are_those_of_a_plain_loop(period: float) -> None:
    draw = np.random.default_rng(3)
    tested, predicted = draw.integers(1, 5, 60), draw.integers(1, 5, 60)
    exits, lengths = (tested, predicted, np.minimum(tested, predicted)), [7, 13, 1, 29, 10]
    rows = sentence_rows(COSTS, 1, exits, lengths, period, 0.01)
    for row, (joules, late) in zip(rows, plain_rows(exits, lengths, period, 0.01), strict=True):
        assert row.token_j == near(joules) and row.late_sentences == late, row.way
    assert rows[0].late_sentences == (5 if period < 45 else 0)


def test_a_deadline_below_the_least_names_it() -> None:
    check_step(COSTS, 1, 18.0, 0.0)
    with pytest.raises(InfeasibleError, match=r"^deadline must be at least 18 s, the fastest this machine can do, not"):
        check_step(COSTS, 1, 17.9, 0.0)
    with pytest.raises(InputError, match=r"^deadline must be above 0 s, not 0 s$"):
        check_step(COSTS, 1, 0.0, 0.0)
    with pytest.raises(InputError, match=r"^idle power must be at least 0 W, not -1 W$"):
        check_step(COSTS, 1, 20.0, -1.0)
