"""The best words for one scale, by dynamic programming with whole arrays (`quant.codebook.best_subset`)."""

import numpy as np


def best_subset(
    admissible: np.ndarray,
    energy: np.ndarray,
    histogram: tuple[np.ndarray, np.ndarray, np.ndarray],
    scale: float,
    size: int,
) -> tuple[float, np.ndarray]:
    """Return the exact best words for one scale. The arguments and the result are those of `quant.codebook`."""
    centres, mass, count = histogram
    levels = admissible * scale
    sums = [np.concatenate([[0.0], np.cumsum(part)]) for part in (mass, mass * centres, mass * centres**2, count)]
    edge = np.searchsorted(centres, levels, side="right")
    middle = np.searchsorted(centres, (levels[:, None] + levels[None, :]) / 2, side="right")

    def cost(low: np.ndarray, high: np.ndarray, level: np.ndarray, charge: np.ndarray) -> np.ndarray:
        p0, p1, p2, p3 = (part[high] - part[low] for part in sums)
        return p2 - 2 * level * p1 + level**2 * p0 + charge * p3

    n, zero = admissible.size, int(np.searchsorted(admissible, 0))
    step = cost(edge[:, None], middle, levels[:, None], energy[:, None]) + cost(
        middle, edge[None, :], levels[None, :], energy[None, :]
    )
    index = np.arange(n)
    step[(index[:, None] >= index[None, :]) | ((index[:, None] < zero) & (index[None, :] > zero))] = np.inf
    start = np.where(index <= zero, cost(np.zeros(n, np.int64), edge, levels, energy), np.inf)
    finish = np.where(index >= zero, cost(edge, np.full(n, centres.size), levels, energy), np.inf)
    best, previous, found = start, [], (np.inf, 0, 0)
    for words in range(1, size + 1):
        total = best + finish
        last = int(np.argmin(total))
        if total[last] < found[0]:
            found = (float(total[last]), words, last)
        through = best[:, None] + step
        previous.append(np.argmin(through, axis=0))
        best = np.min(through, axis=0)
    chosen = [found[2]]
    for words in range(found[1] - 1, 0, -1):
        chosen.append(int(previous[words - 1][chosen[-1]]))
    return found[0], np.array(chosen[::-1])
