"""Quantizing one layer of a job."""

import numpy as np
import pytest

from haloquant.dvfs.classes import Classes
from haloquant.errors import InfeasibleError
from haloquant.jobs.quantize.layer_rounding import RoundingSettings, round_layer
from haloquant.quant.accumulator import longest_accumulation
from haloquant.quant.layer import quantize_weight_compensated
from haloquant.quant.rounding.refinement import quantize_weight_refined
from haloquant.quant.sparse import split
from haloquant.quant.tiles import make_grid, uniform_map
from haloquant.records import Codebook, OperatingPoint
from haloquant.store.profiles import find_profile
from support.halo_layers import same
from support.quant_twins import NINE, SIXTEEN, random_statistics, random_weight

PROFILE = find_profile("default")


def test_a_job_checks_the_sums_of_every_layer_too() -> None:
    books = (Codebook("all", np.arange(-128, 128).astype(np.int16), OperatingPoint(1.0, 1e9), 0.0),)
    wide = np.ones((1, longest_accumulation(128) + 1), np.float32)
    with pytest.raises(InfeasibleError, match=r"^accumulation of l must be at most 131071 products"):
        round_layer(
            wide,
            None,
            uniform_map("l", make_grid(*wide.shape)),
            Classes(PROFILE, 0, books * 2),
            RoundingSettings(0.0, True),
        )


def test_a_layer_of_sixteen_words_is_not_refined_unless_it_is_asked_for() -> None:
    weight, known = random_weight(3, 64, 96), random_statistics(4, 64, 96, layer="l")
    sparse, _ = split(weight, known, layer="l", budget=0.0)
    classes = Classes(PROFILE, 0, (NINE, SIXTEEN, SIXTEEN))
    for place, share, refined in ((1, "auto", 0.0), (1, 0.5, 0.5), (0, "auto", 0.5), (0, 0.0, 0.0)):
        tiles = uniform_map("l", make_grid(64, 96, 32, 32), place)
        made = round_layer(weight, known, tiles, classes, RoundingSettings(0.0, True, share))
        rest = {"tiles": tiles, "codebooks": (NINE, SIXTEEN), "statistics": known, "sparse": sparse}
        expected = quantize_weight_refined(weight, **rest, share=refined)
        assert same(made, expected)
        assert same(made, quantize_weight_compensated(weight, **rest)) == (refined == 0)
