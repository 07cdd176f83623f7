"""ZeroQuant: grids, distillation and LoRC."""

import numpy as np
import pytest

from haloquant.errors import InputError
from haloquant.quant.rivals import rtn, zeroquant
from haloquant.quant.transforms.error_propagation import PairedInputs
from haloquant.records import LayerStatistics
from support.calibrated_layer import calibrated_layer, output_error


def test_zeroquant_is_symmetric_rounding_by_group():
    weight, _, statistics = calibrated_layer()
    result = zeroquant.quantize(weight, statistics, zeroquant.ZeroQuantConfig(4, 16), layer="l")
    plain = rtn.quantize(weight, statistics, rtn.RtnConfig(4, 16, "symmetric"), layer="l")
    assert result.weight.tobytes() == plain.weight.tobytes()
    assert result.bits == plain.bits


def test_distillation_lowers_the_output_error_at_the_same_bits():
    weight, x, statistics = calibrated_layer()
    plain = zeroquant.quantize(weight, statistics, zeroquant.ZeroQuantConfig(3, 16), layer="l")
    local = zeroquant.quantize(weight, statistics, zeroquant.ZeroQuantConfig(3, 16, steps=60), layer="l")
    assert output_error(local, weight, x) < 0.6 * output_error(plain, weight, x)
    assert local.bits == plain.bits
    assert np.abs(local.mac_values).max() <= 3


def test_lorc_repairs_the_rounding_error():
    weight, _, statistics = calibrated_layer()
    plain = zeroquant.quantize(weight, statistics, zeroquant.ZeroQuantConfig(3, 16), layer="l")
    repaired = zeroquant.quantize(weight, statistics, zeroquant.ZeroQuantConfig(3, 16, rank=3), layer="l")
    singular = np.linalg.svd(weight - plain.weight, compute_uv=False)
    assert np.sum((repaired.weight - weight) ** 2) == pytest.approx(np.sum(singular[3:] ** 2), rel=1e-2)
    full = zeroquant.quantize(weight, statistics, zeroquant.ZeroQuantConfig(3, 16, rank=20), layer="l")
    np.testing.assert_allclose(full.weight, weight, atol=2e-4)


def test_global_repairs_what_earlier_layers_did_to_the_input():
    weight, x, _ = calibrated_layer(tokens=4000)
    actual = (0.9 * x + np.random.default_rng(1).normal(size=x.shape) * 0.3).astype(np.float32)
    halves = []
    for half in (slice(0, None, 2), slice(1, None, 2)):
        a, b = x[half].astype(np.float64), actual[half].astype(np.float64)
        halves += [(2 / len(a) * b.T @ b).astype(np.float32), (2 / len(a) * a.T @ b).astype(np.float32)]
    config = zeroquant.ZeroQuantConfig(4, 16, steps=60)
    far = zeroquant.quantize_to_outputs(weight, PairedInputs("l", *halves), config, layer="l")
    near = LayerStatistics("l", len(x), hessian=(2 / len(x) * actual.T @ actual).astype(np.float32), source="test")
    local = zeroquant.quantize(weight, near, config, layer="l")

    def error(made):
        return float(((x @ weight.T - actual @ made.weight.T) ** 2).sum())

    assert error(far) < 0.9 * error(local)
    assert far.bits == local.bits and np.abs(far.mac_values).max() <= 7
    assert far.notes[0].startswith("damping of the target: ")


def test_sentences():
    weight, _, _ = calibrated_layer()
    with pytest.raises(InputError, match="zeroquant distillation needs the layer Hessian"):
        zeroquant.quantize(weight, LayerStatistics("l", 0), zeroquant.ZeroQuantConfig(steps=1), layer="l")
