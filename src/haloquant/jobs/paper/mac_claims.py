"""The MAC: figures 3, 4 and 5 and the words of both classes, beside the units that this package synthesized.

Our numbers are of the shipped default unit, or of the shipped unit that is nearest to figure 4.
"""

import math
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from jaxtyping import Float64

from haloquant.records import MacProfile
from haloquant.report.paper.rows import ClaimRow, Verdict
from haloquant.store.paper_figures import read_mac, read_statements
from haloquant.store.profiles import PAPER_MAC, find_profile, read_profile, shipped_profiles

READING = 0.01  # error of a number that was read from a picture
NEAR = 0.1  # a number of ours this near to the paper's shows it
CLASSES = (("fast", 32, "INT3"), ("slow", 16, "INT4"))


@dataclass(frozen=True, slots=True)
class Picture:
    """How a unit's delays look beside figure 4.

    Attributes:
        name: The profile.
        basis: "static" or "sensitised" delay.
        correlation: Spearman's rank correlation of delay by weight value with the paper's; 1 is the same order.
        steps: How much faster the slowest multiple of 32, and of 16, is than the slowest of all values.
        paper_steps: The same of the paper's MAC.
    """

    name: str
    basis: str
    correlation: float
    steps: tuple[float, float]
    paper_steps: tuple[float, float]

    @property
    def score(self) -> float:
        """The rank correlation less the mean distance of both steps from the paper's, as ratios; 1 is the picture."""
        off = [abs(math.log(own / theirs)) for own, theirs in zip(self.steps, self.paper_steps, strict=True)]
        return self.correlation - sum(off) / len(off)


def picture(profile: MacProfile, basis: str = "static") -> Picture | None:
    """Return how a unit looks beside figure 4.

    The two are compared over the int8 values that the unit holds: a unit of sign and magnitude holds no -128. There is
    no picture if another value or a delay is missing, or if all delays are equal.
    """
    own = (profile.delay_s if basis == "static" else profile.sensitised_delay_s)[0]
    paper = find_profile(PAPER_MAC)
    held = np.isin(paper.weights, profile.weights)
    weights = paper.weights[held]
    if profile.weights.tolist() != weights.tolist() or not held[1:].all() or np.isnan(own).any() or np.ptp(own) == 0:
        return None
    delays = own, paper.delay_s[0][held]
    ranks = [_ranks(values) for values in delays]
    steps = [tuple(float(d.max() / d[weights % step == 0].max()) for _, step, _ in CLASSES) for d in delays]
    correlation = float(np.corrcoef(ranks[0], ranks[1])[0, 1])
    return Picture(profile.name, basis, correlation, (steps[0][0], steps[0][1]), (steps[1][0], steps[1][1]))


def nearest_picture() -> Picture:
    """Return the shipped unit, by either basis, that looks most like figure 4: the one with the highest score."""
    units = (read_profile(path) for name, path in shipped_profiles().items() if name != PAPER_MAC)
    found = [made for unit in units for basis in ("static", "sensitised") if (made := picture(unit, basis))]
    return max(found, key=lambda made: made.score)


def mac_rows() -> list[ClaimRow]:
    """Return the rows on the MAC."""
    return [*_delays(), *_clocks(), *_nearest(), *_words(), *_powers()]


def _delays() -> list[ClaimRow]:
    said, mac, rows = read_statements(), find_profile(PAPER_MAC), []
    for weight, name in ((64, "fast-delay"), (-127, "slow-delay")):
        ours, paper = 1e12 * float(mac.delay_s[0][mac.weights == weight][0]), said[name].value
        verdict: Verdict = "consistent" if abs(ours / paper - 1) <= 2 * READING else "not reproduced"
        why = "one period of the clock that figure 4 has for this value"
        rows.append(ClaimRow("figure 3", said[name].text, "ps", paper, ours, None, verdict, why))
    return rows


def _clocks() -> list[ClaimRow]:
    said, mac, rows = read_statements(), find_profile(PAPER_MAC), []
    for name, step, _ in CLASSES:
        clock, held = said[f"{name}-clock"].value, mac.weights % step == 0
        ours = 1e-9 / float(mac.delay_s[0][held].max())
        late = int((mac.delay_s[0][held] > 1e-9 / clock).sum())
        why = f"the slowest multiple of {step} in figure 4"
        if late:
            why += f"; {late} of the words are slower than the text says, by at most {clock / ours - 1:.1%}"
        verdict: Verdict = "partly" if late else "consistent"
        rows.append(ClaimRow("figure 4", said[f"{name}-clock"].text, "GHz", clock, ours, None, verdict, why))
    return rows


def _nearest() -> list[ClaimRow]:
    own, nearest = picture(find_profile("default")), nearest_picture()
    if own is None:
        raise ValueError("the default profile must hold all int8 values")
    kind = {"static": "longest static path with the weight as a constant"}.get(
        nearest.basis, "longest path that an activation transition toggled"
    )
    both = all(_near(*pair) for pair in zip(nearest.steps, nearest.paper_steps, strict=True))
    shown = both and nearest.basis == "sensitised"
    rows: list[ClaimRow] = []
    for index, (_, step, _) in enumerate(CLASSES):
        ours, paper = nearest.steps[index], nearest.paper_steps[index]
        verdict: Verdict = "reproduced" if shown else "partly" if ours > 1.05 else "not reproduced"
        claim = f"multiples of {step} are faster than the slowest value"
        rows.append(
            ClaimRow(
                "figure 4", claim, "ratio", paper, ours, None, verdict,
                f"ours: the unit of the profile {nearest.name}, {kind}; the default unit, {own.name}, has "
                f"{own.steps[index]:.2f}. It was chosen because it is nearest, and no unit that was tried has both "
                "steps. The paper's delay is the longest that an activation transition toggles, on a unit that is not "
                "published",
            )
        )  # fmt: skip
    rows.append(
        ClaimRow(
            "figure 4", "order of the delays by weight value (rank correlation with the paper's)", "of 1", 1.0,
            nearest.correlation, None, "partly" if nearest.correlation > 0.5 else "not reproduced",
            f"the nearest of the shipped units, {nearest.name} by {nearest.basis} delay. Less the mean distance of the "
            f"two steps from the paper's, as ratios, its score is {nearest.score:.2f} of 1",
        )
    )  # fmt: skip
    return rows


def _words() -> list[ClaimRow]:
    said, mac, rows = read_statements(), find_profile(PAPER_MAC), []
    for name, step, grid in CLASSES:
        paper, ours = said[f"{name}-words"].value, float((mac.weights % step == 0).sum())
        why = f"by figure 4 they are the multiples of {step}: the {grid} grid times {step}. "
        why += (
            "Any 4-bit model on the upper bits of the weight port has them"
            if ours == paper
            else f"int8 holds {ours:.0f} of them; +128 would be the next"
        )
        verdict: Verdict = "consistent" if ours == paper else "not reproduced"
        claim = f"the {name} class has {paper:.0f} words"
        rows.append(ClaimRow(said[f"{name}-words"].where, claim, "words", paper, ours, None, verdict, why))
    return rows


def _powers() -> list[ClaimRow]:
    said, ours, rows = read_statements(), find_profile("default"), []
    energy = ours.energy_j[0] / ours.energy_j[0].mean()
    for name, step in (("power-slow", 16), ("power-fast", 32)):
        paper = said[name].value / said["power-mean"].value
        own = float(energy[ours.weights % step == 0].mean())
        verdict: Verdict = "reproduced" if _near(own, paper) else "partly" if own < 1 else "not reproduced"
        claim = f"power of the multiples of {step} over that of all values"
        why = f"ours: {ours.name}, switching energy simulated on its netlist. The direction is the paper's"
        why += (
            ""
            if _near(own, paper)
            else f"; the amount is not: its words save {1 - own:.0%}, the paper's {1 - paper:.0%}"
        )
        rows.append(ClaimRow("figure 5", claim, "ratio", paper, own, None, verdict, why))
    zeros = np.array([_trailing_zeros(weight) for weight in ours.weights.tolist()])
    power = np.array([value.power_w for value in read_mac()])
    falls = [[float(table[zeros == count].mean()) for count in range(7)] for table in (power, energy)]
    steady, (paper, own) = all(a >= b for a, b in pairwise(falls[1])), (fall[0] / fall[-1] for fall in falls)
    verdict = "reproduced" if steady and _near(own, paper) else "partly" if own > 1 else "not reproduced"
    why = f"ours by trailing zeros, over the mean of {ours.name}: {', '.join(f'{part:.2f}' for part in falls[1])}"
    why += (
        ""
        if _near(own, paper)
        else f". The direction is the paper's; the amount is not, by a factor of {own / paper:.1f}"
    )
    rows.append(
        ClaimRow(
            "figure 5", "each trailing zero lowers the power: odd values over multiples of 64", "ratio",
            paper, own, None, verdict, why,
        )
    )  # fmt: skip
    joule = said["power-mean"].value * 1e-6 / (said["base-clock"].value * 1e9)
    mean_j = float(ours.energy_j[0].mean())
    rows.append(
        ClaimRow(
            "figure 5", "mean energy of one operation, if the power is at the base clock", "fJ", None, joule * 1e15,
            None, "not judged",
            f"the figure names no clock. Our 7 nm default needs {mean_j * 1e15:.0f} fJ, so it is hardly this one; only "
            "ratios of its powers are used",
        )
    )  # fmt: skip
    return rows


def _near(ours: float, paper: float) -> bool:
    return abs(ours / paper - 1) <= NEAR


def _ranks(values: Float64[np.ndarray, " w"]) -> Float64[np.ndarray, " w"]:
    """Return the rank of each value; equal values share their mean rank."""
    _, places, counts = np.unique(values, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    return (ends - (counts - 1) / 2)[places]


def _trailing_zeros(weight: int) -> int:
    """Return the trailing zero bits of a weight value; 7 for -128 and 0."""
    return next((bit for bit in range(7) if weight >> bit & 1), 7)
