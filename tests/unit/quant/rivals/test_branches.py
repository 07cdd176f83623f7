"""Low-rank branches, feedback, distillation, offsets and propagated targets against direct linear algebra."""

import numpy as np
import pytest

from haloquant.errors import InputError
from haloquant.quant.rivals import fbquant, rtn, zeroquant
from haloquant.quant.rivals.parts import low_rank, offsets, uniform_grid
from haloquant.quant.transforms import propagation
from haloquant.records import LayerStatistics


def situation(out=20, features=48, tokens=150, seed=0):
    rng = np.random.default_rng(seed)
    x = (rng.normal(size=(tokens, features)) @ rng.normal(size=(features, features)) / 5).astype(np.float32)
    weight = (rng.normal(size=(out, features)) * 0.1).astype(np.float32)
    return weight, x, LayerStatistics("l", tokens, hessian=(2 / tokens * x.T @ x).astype(np.float32), source="test")


def output_error(result, weight, x):
    return float((((result.weight - weight) @ x.T) ** 2).sum())


@pytest.mark.parametrize("shape", [(7, 12), (12, 7)])
def test_closest_branch_is_the_truncated_svd(shape):
    error = np.random.default_rng(1).normal(size=shape).astype(np.float32)
    u, s, v = np.linalg.svd(error)
    direct = u[:, :3] * s[:3] @ v[:3]
    np.testing.assert_allclose(low_rank.closest(error, 3).product, direct, atol=5e-3)


def test_closest_output_beats_the_plain_svd_and_any_other_branch_on_the_output():
    weight, x, statistics = situation()
    best = low_rank.closest_output(weight, statistics.hessian, 4, damping=1e-6).product
    s = np.linalg.svd(weight @ x.T, compute_uv=False)
    bound = float((s[4:] ** 2).sum())  # Eckart-Young on the output itself
    loss = float((((best - weight) @ x.T) ** 2).sum())
    assert bound <= loss * (1 + 1e-5) and loss <= bound * 1.01
    plain = low_rank.closest(weight, 4).product
    assert loss < float((((plain - weight) @ x.T) ** 2).sum())


@pytest.mark.parametrize("bits", [3, 4])
def test_feedback_error_is_at_most_half_a_step_for_any_branch(bits):
    weight, _, _ = situation()
    branch = np.random.default_rng(9).normal(size=weight.shape).astype(np.float32) * 10
    spec = uniform_grid.GridSpec(bits, 16, "symmetric")
    dense, _ = fbquant.round_remainder(weight, branch, spec)
    step = np.repeat(uniform_grid.fit(weight - branch, spec).scale, 16, axis=1)
    # A scale rounded down to float16 clips the greatest weight by up to 2^-11 of the range.
    assert (np.abs(dense + branch - weight) <= step * (0.5 + spec.high * 2.0**-11) + 1e-5).all()


def test_no_branch_is_plain_rounding():
    weight, _, statistics = situation()
    spec = uniform_grid.GridSpec(4, 16)
    dense, level = fbquant.round_remainder(weight, np.zeros_like(weight), spec)
    plain = rtn.quantize(weight, statistics, rtn.RtnConfig(4, 16), layer="l")
    assert dense.tobytes() == plain.weight.tobytes() and level.tobytes() == plain.mac_values.tobytes()


def test_fbquant_lowers_the_output_error_and_pays_for_its_branch():
    weight, x, statistics = situation()
    plain = rtn.quantize(weight, statistics, rtn.RtnConfig(3, 16), layer="l")
    result = fbquant.quantize(weight, statistics, fbquant.FbQuantConfig(bits=3, group=16, rank=2), layer="l")
    assert output_error(result, weight, x) < 0.7 * output_error(plain, weight, x)
    assert result.bits.total - plain.bits.total == result.bits.branches == 2 * (20 + 48) * 16


def test_zeroquant_is_symmetric_rounding_by_group():
    weight, _, statistics = situation()
    result = zeroquant.quantize(weight, statistics, zeroquant.ZeroQuantConfig(4, 16), layer="l")
    plain = rtn.quantize(weight, statistics, rtn.RtnConfig(4, 16, "symmetric"), layer="l")
    assert result.weight.tobytes() == plain.weight.tobytes()
    assert result.bits == plain.bits


def test_distillation_lowers_the_output_error_at_the_same_bits():
    weight, x, statistics = situation()
    plain = zeroquant.quantize(weight, statistics, zeroquant.ZeroQuantConfig(3, 16), layer="l")
    local = zeroquant.quantize(weight, statistics, zeroquant.ZeroQuantConfig(3, 16, steps=60), layer="l")
    assert output_error(local, weight, x) < 0.6 * output_error(plain, weight, x)
    assert local.bits == plain.bits
    assert np.abs(local.mac_values).max() <= 3


def test_lorc_repairs_the_rounding_error():
    weight, _, statistics = situation()
    plain = zeroquant.quantize(weight, statistics, zeroquant.ZeroQuantConfig(3, 16), layer="l")
    repaired = zeroquant.quantize(weight, statistics, zeroquant.ZeroQuantConfig(3, 16, rank=3), layer="l")
    singular = np.linalg.svd(weight - plain.weight, compute_uv=False)
    assert np.sum((repaired.weight - weight) ** 2) == pytest.approx(np.sum(singular[3:] ** 2), rel=1e-2)
    full = zeroquant.quantize(weight, statistics, zeroquant.ZeroQuantConfig(3, 16, rank=20), layer="l")
    np.testing.assert_allclose(full.weight, weight, atol=2e-4)


def test_offsets_are_the_least_squares_fit_on_the_group_sums():
    weight, x, statistics = situation()
    plain = rtn.quantize(weight, statistics, rtn.RtnConfig(3, 16), layer="l")
    moved = offsets.with_offsets(plain, weight, statistics, 16, damping=0.0)
    sums = np.stack([x[:, g : g + 16].sum(1) for g in (0, 16, 32)], axis=1)
    direct = np.linalg.lstsq(sums.astype(np.float64), x @ (weight - plain.weight).T, rcond=None)[0].T
    np.testing.assert_allclose((moved.weight - plain.weight)[:, ::16], direct, atol=2e-4)
    assert output_error(moved, weight, x) < output_error(plain, weight, x)
    assert moved.mac_values is plain.mac_values
    assert moved.bits.total - plain.bits.total == 16 * 20 * 3


def test_target_is_the_least_squares_weight_for_the_inputs_that_come():
    weight, x, _ = situation()
    noisy = (x + np.random.default_rng(3).normal(size=x.shape) * 0.5).astype(np.float32)
    scale = 2 / len(x)
    cross, hessian = (scale * x.T @ noisy).astype(np.float32), (scale * noisy.T @ noisy).astype(np.float32)
    found = propagation.target(weight, cross, hessian, layer="l", damping=0.0)
    direct = np.linalg.lstsq(noisy.astype(np.float64), x.astype(np.float64) @ weight.T, rcond=None)[0].T
    np.testing.assert_allclose(found, direct, atol=1e-3)
    same = (scale * x.T @ x).astype(np.float32)
    np.testing.assert_allclose(propagation.target(weight, same, same, layer="l"), weight, atol=1e-6)
    # Strong damping trusts the weight as it is.
    np.testing.assert_allclose(propagation.target(weight, cross, hessian, layer="l", damping=1e6), weight, atol=1e-4)


def test_sentences():
    weight, _, statistics = situation()
    with pytest.raises(InputError, match="layer 'l': rank must be between 1 and 20, not 21"):
        fbquant.quantize(weight, statistics, fbquant.FbQuantConfig(rank=21), layer="l")
    with pytest.raises(InputError, match="zeroquant distillation needs the layer Hessian"):
        zeroquant.quantize(weight, LayerStatistics("l", 0), zeroquant.ZeroQuantConfig(steps=1), layer="l")
    with pytest.raises(InputError, match=r"cross statistics must be 48 x 48, not \(2, 2\)"):
        propagation.target(weight, np.eye(2, dtype=np.float32), statistics.hessian, layer="l")
