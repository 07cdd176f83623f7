"""The supplies of a search: shares of that at which the elements were characterized, and what an element is at one."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from haloquant.accel.target import Target
from haloquant.errors import InputError
from haloquant.jobs.machines.supply_law import OneSupply, SupplyLaw, choose_supply_law
from haloquant.records import MacProfile

STEPS = 3  # supplies from the lowest to the elements' own, if none are asked for
_SWITCHED = ("activation_register_j", "activation_input_j", "multiples_j")  # energies that a profile says in words


@dataclass(frozen=True)
class Supplies:
    """Shares of the elements' own supply to try, and the law of the delay; `base_v` is the machine's base supply."""

    shares: tuple[float, ...]
    law: SupplyLaw
    base_v: float

    def at(self, share: float) -> OneSupply | None:
        """Return the machine's supply and the delay at a share; None at the elements' own supply."""
        return None if share == 1 else OneSupply(share * self.base_v, self.law.delay(share * self.base_v))

    def lowered(self, profile: MacProfile, share: float) -> MacProfile:
        """Return a profile at a share of its supply.

        Delays follow the law, energies the square of the share, and leakage the share.
        """
        if share == 1:
            return profile
        slower = self.law.delay(share * self.base_v)
        said = {key: f"{share**2 * float(value):g}" for key, value in profile.provenance.items() if key in _SWITCHED}
        corners = tuple(replace(corner, voltage_v=share * corner.voltage_v) for corner in profile.corners)
        return replace(
            profile, corners=corners, delay_s=slower * profile.delay_s, energy_j=share**2 * profile.energy_j,
            sensitised_delay_s=slower * profile.sensitised_delay_s, leakage_w=share * profile.leakage_w,
            provenance={**profile.provenance, **said, "supply": f"{share:g} of the measured one; {self.law.source}"},
        )  # fmt: skip


def supplies_of(profile: MacProfile, target: Target, asked: Sequence[float] = ()) -> Supplies:
    """Return the supplies to try.

    Args:
        profile: An element of the library; its law of delay holds for all of them.
        target: The machine.
        asked: Shares of the elements' supply; if empty, `STEPS` of them from the lowest that the law covers.

    Raises:
        InputError: A share is above 1 or below what the law covers.
    """
    law, base_v = choose_supply_law(profile, target), target.base.voltage_v
    lowest = law.lowest_v / base_v
    for share in asked:
        if not lowest * (1 - 1e-9) <= share <= 1:
            raise InputError(
                f"a supply must be a share of the elements' own from {lowest:.3g}, the lowest that the law of delay "
                f"covers, to 1, not {share:g}"
            )
    shares = tuple(dict.fromkeys(asked)) or tuple(np.linspace(1.0, lowest, STEPS).tolist())
    return Supplies(shares, law, base_v)
