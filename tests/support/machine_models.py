"""A tiny shape on a made-up multiplier, for tests of machines."""

from dataclasses import replace

import numpy as np

from haloquant.accel.workload.model_shapes import ModelShape
from haloquant.dvfs.alpha_power_law import alpha_power_delay
from haloquant.dvfs.classes import Classes
from haloquant.jobs.machines.systems import QuantizedModel
from haloquant.records import Corner, MacProfile
from support.accel_cases import toy_codebooks, toy_profile

SHAPE = ModelShape("tiny", "llama", 256, 640, 1, 4, 2, 1000)
BOOKS = tuple(replace(book, point=replace(book.point, voltage_v=1.0)) for book in toy_codebooks()[::-1])
LOADED = QuantizedModel("tiny", SHAPE, Classes(toy_profile(), 0, BOOKS), None, 0.81)


def at_three_voltages() -> QuantizedModel:
    """The same model on a multiplier that was measured at 1.0, 0.8 and 0.6 V and follows the alpha-power law."""
    law, toy, volts = alpha_power_delay(0.35, 1.3, 1.0), toy_profile(), (1.0, 0.8, 0.6)
    delay = np.concatenate([toy.delay_s * law(v) for v in volts])
    energy = np.concatenate([toy.energy_j * v**2 for v in volts])
    corners = tuple(Corner(f"{v:g} V", v, 25.0) for v in volts)
    measured = replace(
        toy, corners=corners, delay_s=delay, sensitised_delay_s=delay, energy_j=energy, leakage_w=np.zeros(3)
    )
    return QuantizedModel("tiny", SHAPE, Classes(measured, 0, BOOKS), None, 0.81)


def profile_of_a_known_law() -> tuple[MacProfile, np.ndarray]:
    """A profile at 1.2 to 1.8 V whose delays follow a law by construction, and its delays relative to 1.8 V."""
    volts, threshold, alpha = (1.2, 1.4, 1.6, 1.8), 0.7, 1.5
    toy = toy_profile()
    slower = np.array([v / (v - threshold) ** alpha for v in volts]) / (1.8 / 1.1**alpha)
    corners = tuple(Corner(f"tt{v}", v, 25.0) for v in volts)
    delay = slower[:, None] * toy.delay_s
    profile = replace(
        toy, corners=corners, delay_s=delay, sensitised_delay_s=delay, energy_j=np.repeat(toy.energy_j, 4, axis=0),
        leakage_w=np.zeros(4),
    )  # fmt: skip
    return profile, slower
