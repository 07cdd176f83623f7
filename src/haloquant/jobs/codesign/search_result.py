"""What a search of designs looks for, and what it finds."""

from dataclasses import dataclass

from haloquant.jobs.codesign.array_cost import BUSES, LeftOutElement
from haloquant.jobs.codesign.evaluation import Evaluated
from haloquant.jobs.codesign.front import Design, DesignCost
from haloquant.jobs.codesign.word_losses import Choice, WordLoss
from haloquant.units import least


@dataclass(frozen=True)
class CodesignSettings:
    """What is searched. `max_loss` is in nats, `area_m2` that of all arrays, `evaluated` sets of words are real.

    `words` are sets of words beside the usual ones.

    `promising_only` leaves out designs that another beats before simulation.
    """

    area_m2: float
    max_loss: float
    tiles: tuple[int, ...] = (128, 256, 512)
    buses: tuple[int, ...] = BUSES
    words: tuple[tuple[int, ...], ...] = ()
    evaluated: int = 8
    promising_only: bool = True


@dataclass(frozen=True)
class Codesign:
    """The result. `front` holds the costs of the designs that no evaluated one beats, in each phase.

    `reference` is GPTQ on 4-bit integers in groups of 128. Its cost is that of the INT4 design with the least energy x
    time in each phase, of any tile size, which favours it: larger tiles have fewer scales. There is no cost if no
    element that holds INT4 fits the area.
    `ratio` is evaluated over predicted losses. `left_out` holds the elements and tile sizes of which not one column
    fits, and `words_left_out` the names of the sets of words that no element holds of those that fit.
    """

    settings: CodesignSettings
    front: tuple[DesignCost, ...]
    losses: dict[Choice, Evaluated]
    predicted: dict[Choice, WordLoss]
    reference: Evaluated
    reference_costs: tuple[DesignCost, ...]
    full_perplexity: float
    ratio: float
    designs: int
    left_out: tuple[LeftOutElement, ...] = ()
    words_left_out: tuple[str, ...] = ()

    @property
    def notes(self) -> tuple[str, ...]:
        """Sentences on what does not fit the area."""
        notes: list[str] = []
        if self.left_out:
            listed = ", ".join(f"{each.element} at tile {each.tile}" for each in self.left_out)
            smallest_m2 = min(each.least_area_m2 for each in self.left_out)
            notes.append(
                f"left out, because not one column fits (the smallest needs {least(smallest_m2 * 1e6)} mm2): {listed}"
            )
        if self.words_left_out:
            listed = ", ".join(self.words_left_out)
            notes.append(f"left out, because no element that holds these words fits: {listed}")
        return tuple(notes)

    def loss_of(self, design: Design) -> Evaluated:
        """Return the real loss of a design on the front."""
        return self.losses[design.words, design.tile]

    def gain(self, phase: str) -> tuple[float, DesignCost | None]:
        """Return how many times less energy x time the best design takes that is not less accurate than GPTQ on INT4.

        The design is None, and the gain 0, if every design on the front is less accurate, or if no INT4 design fits.
        """
        base = next((cost for cost in self.reference_costs if cost.phase == phase), None)
        equal = [
            cost
            for cost in self.front
            if cost.phase == phase and not self.loss_of(cost.design).worse_than(self.reference)
        ]
        best = min(equal, key=lambda cost: cost.energy_time, default=None)
        return (0.0, None) if base is None or best is None else (base.energy_time / best.energy_time, best)
