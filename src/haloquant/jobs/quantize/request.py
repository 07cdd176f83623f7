"""The settings of a quantization: all inputs of the result except the checkpoint."""

from dataclasses import dataclass

import numpy as np

from haloquant.recipe import Goal, Recipe
from haloquant.records import MacProfile


@dataclass(frozen=True)
class Request:
    """One quantization.

    `calibration` holds windows of tokens [windows, tokens]; None quantizes without calibration data. `source` says in
    words where the sensitivity comes from, for the reader of the result.
    """

    profile: MacProfile
    goal: Goal
    recipe: Recipe
    calibration: np.ndarray | None
    source: str
