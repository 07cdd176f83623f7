"""Write the partial-sum statistics that the package ships, and compare them with the Gaussian model. Prints JSON.

    python bench/measure_partial_sums.py [MODEL TEXT OUT]

Without arguments, it uses the demo model and its calibration text. `haloquant partial-sums` measures a model of your
own. This file also compares the spread and the bits that change.
"""

import json
import sys
from pathlib import Path

import numpy as np

from haloquant.circuits.simulation.partial_sums import PartialSums, draw_partial_sums
from haloquant.circuits.simulation.stimuli import gaussian_partial_sums
from haloquant.lm.evaluation.partial_sums import ROWS, measure_partial_sums
from haloquant.store.partial_sums import DEMO_FILE, write_partial_sums

PACKAGE = DEMO_FILE.parents[1]


def beside_gaussian(sums: PartialSums, seen: tuple[np.ndarray, np.ndarray]) -> dict[str, object]:
    """Compare the measured sums, sums drawn from their summary, and the Gaussian model: spread and bits that change."""
    widths = 2.0**sums.weight_bits / 8, 2.0**sums.activation_bits / 8
    values, chance = gaussian_partial_sums(ROWS, *widths, 24)
    generator = np.random.default_rng(1)
    drawn = {
        "observed": seen,
        "drawn": draw_partial_sums(sums, 20000, 24, 0),
        "gaussian": tuple(generator.choice(values, (2, 20000), p=chance)),
    }
    return {
        name: {
            "deviation": round(float(np.std(before)), 1),
            "median_magnitude": round(float(np.median(np.abs(before)))),
            "same_sign": round(float(((before < 0) == (after < 0)).mean()), 3),
            "bits_that_change_of_24": round(float(np.bitwise_count((before ^ after) & 0xFFFFFF).mean()), 2),
        }
        for name, (before, after) in drawn.items()
    }


def main() -> None:
    """Measure, write, and say how the sums differ from the model."""
    asked = [Path(word) for word in sys.argv[1:4]]
    folder, text, out = asked or (PACKAGE / "demo" / "model", PACKAGE / "demo" / "calibration.txt", DEMO_FILE)
    found = measure_partial_sums(folder, text)
    for each in found:
        compared = beside_gaussian(each.sums, (each.before, each.after))
        print(json.dumps({"weight_bits": each.sums.weight_bits, "pairs": int(each.before.size), **compared}))
    write_partial_sums([each.sums for each in found], out)
    print(json.dumps({"written": out.name, "bytes": out.stat().st_size}))


if __name__ == "__main__":
    main()
