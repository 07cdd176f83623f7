"""What energy in the choice of words saves and costs. Usage: python bench/energy_words.py [PROFILE ...]

For each weight of energy: error of rounding Gaussian weights relative to weight 0, energy of a multiplication over that
of all values, and clock of both classes over the clock of all values. Prints one JSON line for each profile and weight.
"""

import json
import sys

import numpy as np

from haloquant.dvfs.classes import choose_classes
from haloquant.quant.codebook import gaussian_sample, relative_error
from haloquant.recipe import Quantize
from haloquant.store.profiles import find_profile

WEIGHTS = (0.0, 0.02, 0.05, 0.1, 0.2, 0.5)


def row(name: str, weight: float) -> dict[str, object]:
    """Return error, energy and clock of both classes at one weight of energy."""
    profile, sample = find_profile(name), gaussian_sample(64)
    classes = choose_classes(profile, 0, sample, Quantize().class_sizes(), energy_weight=weight)
    energy = profile.energy_j[0]
    found: dict[str, object] = {"profile": profile.name, "energy_weight": weight}
    for index, book in enumerate(classes.codebooks[:-1]):
        error, codes = relative_error(book.values, sample)
        used = energy[np.searchsorted(profile.weights, book.values)][codes].mean()
        found[book.name] = {
            "error": error,
            "energy": float(used / energy.mean()),
            "clock": classes.clock_ratio(index),
            "words": book.values.tolist(),
        }
    return found


if __name__ == "__main__":
    for profile_name in sys.argv[1:] or ["default"]:
        for energy_weight in WEIGHTS:
            print(json.dumps(row(profile_name, energy_weight)))
