"""Energy of a MAC whose activations are zero in a share of the cycles, over that with all activations equally probable.

A zero activation makes a product of zero, but the change from a product to zero and back toggles gates, so the energy
falls by less than the share. Consecutive activations are independent: each is zero with probability t, else one of all
256 values. The MAC's gates are simulated over all 65,536 transitions. `accel.cost_model.input_density` holds the
result for the shipped default profile.

    python bench/zero_activations.py LIBERTY_FOLDER
"""

import json
import sys
from pathlib import Path

import numpy as np
from make_profiles import RECIPES, _mapped

from haloquant.circuits.characterization import typical_conditions
from haloquant.circuits.simulation.stimuli import activation_stimuli
from haloquant.circuits.simulation.value_table import simulate_values
from haloquant.store.profiles import DEFAULT

SHARES = (0.0, 0.25, 0.5, 0.75, 0.9, 1.0)
WORDS = (-127, -96, -64, -48, -32, -16, -8, -4, 0, 4, 8, 16, 32, 48, 64, 96)


def transitions(share: float, bits: int = 8) -> np.ndarray:
    """The probability of every transition, in the order of its index, if a share of the activations is zero."""
    once = np.full(1 << bits, (1 - share) / (1 << bits))
    once[0] += share
    index = np.arange(4**bits)
    before, after = np.zeros(index.size, np.int64), np.zeros(index.size, np.int64)
    for bit in range(bits):
        digit = index >> (2 * bit) & 3
        before |= (digit & 1) << bit
        after |= (digit >> 1) << bit
    return once[before] * once[after]


def main() -> None:
    """Print one JSON object."""
    recipe = next(recipe for recipe in RECIPES if recipe.name == DEFAULT)
    _, netlist, library = _mapped(recipe, Path(sys.argv[1]), recipe.corners)
    stimuli = activation_stimuli(8, **{f"t{share:g}": transitions(share) for share in SHARES})
    words = np.array(WORDS, np.int16)
    found = simulate_values(netlist, library, words, stimuli, typical_conditions(library)).energy_j
    ratios = {f"{share:g}": float(row.mean() / found[0].mean()) for share, row in zip(SHARES, found[1:], strict=True)}
    print(
        json.dumps({"profile": DEFAULT, "words": WORDS, "energy over that without zeros, by share": ratios}, indent=1)
    )


if __name__ == "__main__":
    main()
