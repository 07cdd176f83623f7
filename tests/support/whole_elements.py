"""Profiles of whole processing elements, made up."""

from dataclasses import replace

import numpy as np

from haloquant.records import MacProfile
from support.accel_cases import toy_profile


def made_of(values: list[int], area_m2: float, pins: int, register_m2: float = 1e-12) -> MacProfile:
    """A whole element for some values, each of 100 ps and 50 fJ."""
    count = len(values)
    said = {"element": "whole", "weight_pins": str(pins), "register_area_m2": str(register_m2)}
    flat = np.full((1, count), 1e-10)
    return replace(
        toy_profile(), name=f"of{count}", weights=np.array(values, np.int16), delay_s=flat, sensitised_delay_s=flat,
        energy_j=np.full((1, count), 5e-14), area_m2=area_m2, provenance=said,
    )  # fmt: skip
