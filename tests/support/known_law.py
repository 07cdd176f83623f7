"""A profile whose delays follow a known alpha-power law."""

import numpy as np

from haloquant.records import Corner, MacProfile

VOLTS = (1.28, 1.35, 1.4, 1.44, 1.6, 1.76)
FIVE_WEIGHTS = np.array([-2, -1, 0, 1, 2], dtype=np.int16)
UNIT_S = np.array([4.0, 2.0, 0.0, 1.0, 3.0]) * 1e-10


def known_law_profile(volts: tuple[float, ...] = VOLTS) -> MacProfile:
    """Five weight values, one corner at 1.8 V, and slow corners with threshold 0.5 V and alpha 1.5."""
    stretch = np.array([v / (v - 0.5) ** 1.5 for v in volts])
    delay_s = np.vstack([UNIT_S, stretch[:, None] * UNIT_S])
    corners = (Corner("tt", 1.8, 25.0), *(Corner(f"ss_{v}", v, -40.0, "ss") for v in volts))
    nothing = np.full_like(delay_s, np.nan)
    leakage_w = np.zeros(len(corners))
    energy_j = np.tile(np.array([5.0, 4.0, 0.0, 1.0, 3.0]) * 1e-15, (len(corners), 1))
    return MacProfile("toy", "", FIVE_WEIGHTS, corners, delay_s, nothing, energy_j, leakage_w, 1e-9)
