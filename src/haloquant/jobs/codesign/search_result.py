"""What a search of designs looks for, and what it finds."""

from dataclasses import dataclass

from haloquant.jobs.codesign.array_cost import BUSES, LeftOutElement
from haloquant.jobs.codesign.evaluation import Evaluated
from haloquant.jobs.codesign.front import Design, DesignCost
from haloquant.jobs.codesign.supplies import Supplies
from haloquant.jobs.codesign.word_losses import Choice, WordLoss
from haloquant.units import least


@dataclass(frozen=True)
class CodesignSettings:
    """What is searched. `max_loss` is in nats, `area_m2` that of all arrays, `evaluated` sets of words are real.

    `words` are sets of words beside the usual ones. `supplies` are shares of the elements' own supply; without them
    `supplies.supplies_of` chooses some.

    `promising_only` leaves out designs that another beats before simulation.
    """

    area_m2: float
    max_loss: float
    tiles: tuple[int, ...] = (128, 256, 512)
    buses: tuple[int, ...] = BUSES
    words: tuple[tuple[int, ...], ...] = ()
    evaluated: int = 8
    supplies: tuple[float, ...] = ()
    promising_only: bool = True


@dataclass(frozen=True)
class Codesign:
    """The result. `front` holds the costs of the designs that no evaluated one beats, in each phase.

    The reference is GPTQ on 4-bit integers. Its cost is that of the INT4 design with the least energy x time in each
    phase, of any tile size, and its loss in `references` that of GPTQ with groups as long as that tile. There is no
    cost, and the loss at the smallest tile size, if no element that holds INT4 fits the area.
    `ratio` is evaluated over predicted losses. `left_out` holds the elements and tile sizes of which not one column
    fits, and `words_left_out` the names of the sets of words that no element holds of those that fit.
    """

    settings: CodesignSettings
    front: tuple[DesignCost, ...]
    losses: dict[Choice, Evaluated]
    predicted: dict[Choice, WordLoss]
    references: dict[int, Evaluated]
    reference_costs: tuple[DesignCost, ...]
    full_perplexity: float
    ratio: float
    designs: int
    supplies: Supplies
    left_out: tuple[LeftOutElement, ...] = ()
    words_left_out: tuple[str, ...] = ()

    @property
    def notes(self) -> tuple[str, ...]:
        """Sentences on the law of lower supplies, and on what does not fit the area."""
        notes: list[str] = []
        if min(self.supplies.shares) < 1:
            shares = ", ".join(f"{share:.3g}" for share in self.supplies.shares)
            notes.append(f"supplies: {shares} of the elements' own, with the delay {self.supplies.law.source}")
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

    def reference_cost(self, phase: str) -> DesignCost | None:
        """Return the cost of the reference in a phase; None if no INT4 design fits the area."""
        return next((cost for cost in self.reference_costs if cost.phase == phase), None)

    def reference(self, phase: str) -> Evaluated:
        """Return the loss of the reference in a phase: that of GPTQ at the tile size of its cost."""
        cost = self.reference_cost(phase)
        return self.references[min(self.references) if cost is None else cost.design.tile]

    def gain(self, phase: str) -> tuple[float, DesignCost | None]:
        """Return how many times less energy x time the best design takes that is not less accurate than GPTQ on INT4.

        The design is None, and the gain 0, if every design on the front is less accurate, or if no INT4 design fits.
        """
        base = self.reference_cost(phase)
        equal = [
            cost
            for cost in self.front
            if cost.phase == phase and not self.loss_of(cost.design).worse_than(self.reference(phase))
        ]
        best = min(equal, key=lambda cost: cost.energy_time, default=None)
        return (0.0, None) if base is None or best is None else (base.energy_time / best.energy_time, best)
