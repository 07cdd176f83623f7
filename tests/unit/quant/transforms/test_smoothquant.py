"""SmoothQuant's scale by hand."""

import numpy as np
import pytest

from haloquant.errors import InputError
from haloquant.quant.transforms import smoothquant
from haloquant.records import LayerStatistics
from support.calibrated_layer import scaled_inputs_layer


def test_smoothquant_scale_by_hand():
    # max|X| = (16, 1), max|W| over both weights = (4, 0.25); alpha 1/2: s = (4 / 2, 1 / 0.5).
    weights = (np.array([[4.0, 0.1], [1.0, 0.2]], np.float32), np.array([[-1.0, -0.25]], np.float32))
    statistics = LayerStatistics("l", 1, input_absmax=np.array([16.0, 1.0], np.float32))
    found = smoothquant.scaling(weights, statistics, smoothquant.SmoothQuantConfig(0.5), layer="l")
    np.testing.assert_allclose(found.scale, [2.0, 2.0])


def test_smoothquant_leaves_silent_features_alone():
    statistics = LayerStatistics("l", 1, input_absmax=np.array([0.0, 4.0], np.float32))
    found = smoothquant.scaling((np.ones((1, 2), np.float32),), statistics, smoothquant.SmoothQuantConfig(), layer="l")
    np.testing.assert_allclose(found.scale, [1.0, 2.0])


def test_sentences():
    weight, _, statistics = scaled_inputs_layer()
    none = LayerStatistics("l", 0)
    with pytest.raises(InputError, match="layer 'l': smoothquant needs the largest inputs, not statistics from 'none'"):
        smoothquant.scaling((weight,), none, smoothquant.SmoothQuantConfig(), layer="l")
    with pytest.raises(InputError, match="layer 'l': alpha must be between 0 and 1, not 2"):
        smoothquant.scaling((weight,), statistics, smoothquant.SmoothQuantConfig(2.0), layer="l")
    with pytest.raises(InputError, match="weights that share an input must read its 32 features, not 31"):
        smoothquant.scaling((weight, weight[:, 1:]), statistics, smoothquant.SmoothQuantConfig(), layer="l")
