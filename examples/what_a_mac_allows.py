"""From a MAC's profile to words: which weight values meet a clock, and how good a codebook they make.

Usage: python examples/what_a_mac_allows.py [PROFILE]
"""

import sys

import numpy as np

from haloquant.dvfs.operating_points import admissible_values, period_for
from haloquant.quant.codebook import gaussian_sample, relative_error, select_codebook
from haloquant.records import OperatingPoint
from haloquant.store.profiles import find_profile

profile = find_profile(sys.argv[1] if len(sys.argv) > 1 else "default")
slowest = period_for(profile, 0, profile.weights)
sample = gaussian_sample(32)
print(f"{profile.name}: all {len(profile.weights)} values meet {slowest * 1e12:.0f} ps")
for ratio in (1.0, 1.1, 1.2, 1.3, 1.5, 1.7):
    values = np.union1d(admissible_values(profile, 0, slowest / ratio), np.int16(0)).astype(np.int16)
    if len(values) < 3:
        print(f"{ratio:.1f}x the clock: {len(values)} values, no codebook")
        continue
    point = OperatingPoint(profile.corners[0].voltage_v, ratio / slowest)
    book = select_codebook(values, sample, name="try", point=point, slack_s=np.zeros(len(values)), size=9)
    decibels = -10 * np.log10(relative_error(book.values, sample)[0])
    print(f"{ratio:.1f}x the clock: {len(values):3d} values; best 9 reach {decibels:.1f} dB: {book.values.tolist()}")
