"""The table of predicted exits, worked by hand and by a plain loop."""

import numpy as np
import pytest

from haloquant.lm.evaluation.exit_table import BIN_NATS, covered_share, exit_blocks, make_exit_table
from support.near import near

# Entropies of one window: rows are the three blocks, columns five tokens.
ENTROPY = np.array([[[0.4, 2.05, 2.05, 2.05, 3.0], [0.3, 0.5, 1.5, 0.4, 2.0], [0.2, 0.4, 1.4, 2.0, 0.1]]])


def test_a_token_leaves_after_the_first_block_that_is_below() -> None:
    assert exit_blocks(ENTROPY, 1.0).tolist() == [[1, 2, 3, 2, 3]]
    assert exit_blocks(ENTROPY, 1.0, first_block=2).tolist() == [[2, 2, 3, 2, 3]]
    assert exit_blocks(ENTROPY, 0.05).tolist() == [[3] * 5]  # none is below: the last block


def test_the_table_by_hand() -> None:
    """Of the tokens in bin 20 (2.0 to 2.1 nats) two of three have left after block 2, and all after block 3."""
    most = make_exit_table(ENTROPY, 1.0, 0.6)
    assert most.exits.shape == (3, 31)
    assert most.exits[0, 20] == 2 and most.exits[0, 30] == 3 and most.exits[0, 25] == 3  # 25: no token, so the last
    assert make_exit_table(ENTROPY, 1.0, 0.7).exits[0, 20] == 3
    assert most.predict(1, np.array([0.99, 2.0, 2.0999, 9.0])).tolist() == [1, 2, 2, 3]
    assert most.predict(2, np.array([0.2, 1.5])).tolist() == [2, 3]
    # tokens 2 to 5 did not leave after block 1; of those the third is predicted too early
    assert covered_share(most, ENTROPY, 1) == near(3 / 4)
    assert covered_share(make_exit_table(ENTROPY, 1.0, 1.0), ENTROPY, 1) == 1.0
    assert covered_share(make_exit_table(ENTROPY, 9.0, 1.0), ENTROPY, 1) is None


@pytest.mark.parametrize("coverage", [0.0, 0.5, 0.9, 1.0])
def test_the_table_is_that_of_a_plain_loop_and_covers_what_it_promises(coverage: float) -> None:
    entropy = np.random.default_rng(0).gamma(2.0, 0.6, (4, 4, 50))
    table = make_exit_table(entropy, 0.8, coverage)
    for block in (1, 2, 3):
        left: dict[int, list[int]] = {}
        for w in range(4):
            for t in range(50):
                below = [b for b in range(block, 4) if entropy[w, b - 1, t] < 0.8]
                exit_at = below[0] if below else 4
                if exit_at > block:
                    left.setdefault(int(entropy[w, block - 1, t] / BIN_NATS), []).append(exit_at)
        for k in range(table.exits.shape[1]):
            seen = left.get(k, [])
            wanted = min(
                (e for e in range(block + 1, 5) if sum(x <= e for x in seen) >= coverage * len(seen) - 1e-9), default=4
            )
            assert table.exits[block - 1, k] == (wanted if seen else 4)
        share = covered_share(table, entropy, block)
        assert share is not None and share >= coverage - 1e-9
