"""The block after which a token will leave, predicted from the entropy after an earlier block by a table.

EdgeBERT (arXiv 2011.14203) looks up the entropy after the first block in such a table, to know how much work is left
and at which clock it will be done just in time. Its columns are entropies predicted by a small trained network. Here a
row holds the predicted block itself: the earliest one by which a given share of calibration tokens of that bin of
entropy have left.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int64

BIN_NATS = 0.1


@dataclass(frozen=True)
class ExitTable:
    """Predicted exit blocks, from 1: `exits[b, k]` for an entropy in bin `k` after block `b` + 1.

    A token whose entropy is below the threshold leaves at once.
    """

    threshold_nats: float
    exits: Int64[np.ndarray, "blocks bins"]

    def predict(self, block: int, entropy: Float64[np.ndarray, "*tokens"]) -> Int64[np.ndarray, "*tokens"]:
        """Return the predicted exit block of tokens with these entropies after `block`."""
        row = self.exits[block - 1]
        bins = np.minimum((entropy / BIN_NATS).astype(np.int64), len(row) - 1)
        return np.where(entropy < self.threshold_nats, block, row[bins])


def exit_blocks(
    entropy: Float64[np.ndarray, "windows blocks tokens"], threshold_nats: float, first_block: int = 1
) -> Int64[np.ndarray, "windows tokens"]:
    """Return the first block, from `first_block` on, after which the entropy is below a threshold; else the last."""
    below = entropy < threshold_nats
    below[:, : first_block - 1] = False
    below[:, -1] = True
    return below.argmax(axis=1) + 1


def make_exit_table(
    entropy: Float64[np.ndarray, "windows blocks tokens"], threshold_nats: float, coverage: float
) -> ExitTable:
    """Return the table of a calibration text.

    Args:
        entropy: entropy after each block.
        threshold_nats: tokens leave below it.
        coverage: share of a bin's tokens, 0 to 1, that have left by the predicted block.
    """
    count = entropy.shape[1]
    bins = int(entropy.max() / BIN_NATS) + 1
    exits = np.full((count, bins), count, np.int64)  # a bin without tokens: the last block
    for block in range(1, count):
        left = exit_blocks(entropy, threshold_nats, block)
        place = (entropy[:, block - 1] / BIN_NATS).astype(np.int64)
        for k in range(bins):
            later = left[(place == k) & (left > block)]
            if len(later):
                share = np.bincount(later, minlength=count + 1).cumsum() / len(later)
                exits[block - 1, k] = block + 1 + int(np.argmax(share[block + 1 :] >= coverage - 1e-12))
    return ExitTable(threshold_nats, exits)


def covered_share(table: ExitTable, entropy: Float64[np.ndarray, "windows blocks tokens"], block: int) -> float | None:
    """Return the share of tokens of another text whose exit, predicted after `block`, is at or after the true one.

    Tokens that leave after `block` itself need no prediction and are not counted. None if there are no others.
    """
    true = exit_blocks(entropy, table.threshold_nats, block)
    asked = true > block
    if not asked.any():
        return None
    return float((table.predict(block, entropy[:, block - 1]) >= true)[asked].mean())
