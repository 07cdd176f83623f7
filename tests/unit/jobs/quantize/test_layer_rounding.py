"""Quantizing one layer of a job."""

import numpy as np
import pytest

from haloquant.dvfs.classes import Classes
from haloquant.errors import InfeasibleError
from haloquant.jobs.quantize.layer_rounding import round_layer
from haloquant.quant.accumulator import longest_accumulation
from haloquant.quant.tiles import make_grid, uniform_map
from haloquant.records import Codebook, OperatingPoint
from haloquant.store.profiles import find_profile

PROFILE = find_profile("default")


def test_a_job_checks_the_sums_of_every_layer_too() -> None:
    books = (Codebook("all", np.arange(-128, 128).astype(np.int16), OperatingPoint(1.0, 1e9), 0.0),)
    wide = np.ones((1, longest_accumulation(128) + 1), np.float32)
    with pytest.raises(InfeasibleError, match=r"^accumulation of l must be at most 131071 products"):
        round_layer(wide, None, uniform_map("l", make_grid(*wide.shape)), Classes(PROFILE, 0, books * 2), 0.0, True)
