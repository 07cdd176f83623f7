"""GPTQ against its slow twin: optimal brain quantization with the inverse Hessian downdated explicitly."""

import itertools

import numpy as np
import pytest

from haloquant.errors import InputError
from haloquant.quant.format.stored_bits import sparse_bits
from haloquant.quant.rivals import gptq
from haloquant.quant.rounding import uniform_grid
from haloquant.quant.sparse import split
from haloquant.records import LayerStatistics


def problem(out, features, tokens, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(tokens, features)) @ rng.normal(size=(features, features))
    weight = rng.normal(size=(out, features)).astype(np.float32)
    return weight, (2 / tokens * x.T @ x).astype(np.float32)


def statistics(hessian):
    return LayerStatistics("l", 64, hessian=hessian, source="test")


def run(weight, hessian, **config):
    return gptq.quantize(weight, statistics(hessian), gptq.GptqConfig(**config), layer="l")


def obq_in_order(weight, hessian, damping, order, fitted, width):
    """Textbook OBQ (Frantar and Alistarh 2022): w += delta, H^-1 downdated by one row and column after each weight."""
    h = hessian.astype(np.float64)
    inverse = np.linalg.inv(h + damping * np.diag(h).mean() * np.eye(len(h)))
    work = weight.astype(np.float64)
    result = np.empty_like(work)
    left = list(order)
    for j in order:
        scale, zero = fitted.scale[:, j // width], fitted.zero[:, j // width]
        code = np.clip(np.rint(work[:, j] / scale) + zero, fitted.spec.low, fitted.spec.high)
        result[:, j] = (code - zero) * scale
        error = (work[:, j] - result[:, j]) / inverse[j, j]
        work -= error[:, None] * inverse[j][None, :]
        inverse -= np.outer(inverse[:, j], inverse[j]) / inverse[j, j]
        left.remove(j)
        inverse[j, :] = inverse[:, j] = 0
        inverse[j, j] = 1
    return result


@pytest.mark.parametrize("order", ["natural", "activation"])
@pytest.mark.parametrize(
    ("features", "group", "bits"), [(8, None, 3), (48, 16, 4), (160, 32, 3), (130, 128, 4), (9, 4, 2)]
)
def test_equals_obq_with_explicit_inverse(order, features, group, bits):
    weight, hessian = problem(6, features, 4 * features)
    result = run(weight, hessian, bits=bits, group=group, order=order)
    fitted = uniform_grid.fit(weight, uniform_grid.GridSpec(bits, group))
    sequence = gptq.column_order(hessian, order)
    slow = obq_in_order(weight, hessian, 0.01, sequence, fitted, fitted.spec.width(features))
    np.testing.assert_allclose(result.weight, slow, atol=2e-5)


def test_last_weight_is_the_conditional_optimum():
    """With one weight free the compensated value is the exact minimizer: w2 + (w1 - q1) H21 / H22, by hand."""
    hessian = np.array([[2.0, 1.0], [1.0, 1.0]], np.float32)
    weight = np.array([[0.7, 2.0]], np.float32)
    # symmetric 3 bits, one row: scale 2/3; w1 = 1.05 steps -> 1; error 0.7 - 0.6666 = 0.0333 moves w2 to 2.0333 -> 3.
    result = run(weight, hessian, bits=3, group=None, scheme="symmetric", damping=1e-6, order="natural")
    assert result.mac_values.tolist() == [[1, 3]]
    # A larger loss in w1 (0.9 = 1.35 steps -> 1, lost 0.2333) lifts w2 = 1.0 (1.5 steps) over the midpoint: 1.85 -> 2.
    lifted = run(np.array([[0.9, 1.0, 2.0]], np.float32), np.diag([1.0, 1.0, 9.0]).astype(np.float32)
                 + np.array([[1, 1, 0], [1, 0, 0], [0, 0, 0]], np.float32),
                 bits=3, group=None, scheme="symmetric", damping=1e-6, order="natural")  # fmt: skip
    assert lifted.mac_values.tolist() == [[1, 2, 3]]


def test_never_beats_brute_force_and_beats_rtn():
    spec = uniform_grid.GridSpec(2, None)
    better = 0
    for seed in range(10):
        weight, hessian = problem(1, 5, 40, seed)
        fitted = uniform_grid.fit(weight, spec)
        options = [(c - fitted.zero[0, 0]) * fitted.scale[0, 0] for c in range(4)]
        table = np.array(list(itertools.product(options, repeat=5))) - weight
        least = np.einsum("ni,ij,nj->n", table, hessian.astype(np.float64), table).min()
        mine = run(weight, hessian, bits=2, group=None, damping=1e-6).weight - weight
        nearest = uniform_grid.values(uniform_grid.levels(weight, fitted), fitted) - weight
        loss = float((mine @ hessian * mine).sum())
        assert loss >= least - 1e-5
        better += loss <= float((nearest @ hessian * nearest).sum()) + 1e-6
    assert better >= 8


def test_dynamic_groups_refit_the_grid_to_the_compensated_weights():
    weight, hessian = problem(4, 64, 100)
    static = run(weight, hessian, bits=3, group=16, order="natural")
    dynamic = run(weight, hessian, bits=3, group=16, order="natural", groups="dynamic")
    # The first group sees no compensation, so both agree there; later ones need not.
    np.testing.assert_array_equal(static.weight[:, :16], dynamic.weight[:, :16])
    assert not np.array_equal(static.weight, dynamic.weight)
    assert static.bits == dynamic.bits


def test_a_group_wider_than_the_block_is_one_grid():
    weight, hessian = problem(3, 300, 400)
    row = run(weight, hessian, bits=4, group=None, order="natural", groups="dynamic")
    np.testing.assert_allclose(row.weight, run(weight, hessian, bits=4, group=None, order="natural").weight)


def test_stored_order_is_paid_for():
    weight, hessian = problem(4, 64, 100)
    plain = run(weight, hessian, group=16)
    stored = run(weight, hessian, group=16, groups="dynamic")
    assert stored.bits.total - plain.bits.total == 64 * 6


def test_dead_features_get_weight_zero():
    weight, hessian = problem(4, 12, 50)
    hessian[3, :] = hessian[:, 3] = 0
    result = run(weight, hessian, bits=4, group=4)
    assert not result.weight[:, 3].any()
    assert result.notes == ("1 input features never fired in calibration; their weights are 0",)


def test_damping_is_raised_and_said():
    weight, hessian = problem(4, 12, 3)
    result = run(
        weight, hessian - np.float32(0.02 * np.diag(hessian).mean()) * np.eye(12, dtype=np.float32), damping=0.01
    )
    assert "damping raised from 0.01 to 0.1 of the mean diagonal" in result.notes[0]


def test_sentences():
    weight, hessian = problem(2, 4, 9)
    with pytest.raises(InputError, match="layer 'l': gptq needs the layer Hessian, not statistics from 'none'"):
        gptq.quantize(weight, LayerStatistics("l", 0), gptq.GptqConfig(), layer="l")
    with pytest.raises(
        InputError, match="the Hessian must be 4 x 4, not 3 x 3; the statistics belong to another layer"
    ):
        run(weight, hessian[:3, :3])
    with pytest.raises(InputError, match="damping must be between 1e-09 and 1, not 7"):
        run(weight, hessian, damping=7.0)


@pytest.mark.parametrize("scheme", ["symmetric", "asymmetric"])
def test_searched_ranges_are_the_best_of_all_trials(scheme):
    """Judge: every trial range of every group by itself, weighted by the Hessian's diagonal."""
    weight, hessian = problem(5, 40, 200)
    weight *= np.random.default_rng(1).standard_t(3, size=weight.shape).astype(np.float32)
    spec, diagonal = uniform_grid.GridSpec(3, 16, scheme), np.diag(hessian)
    found = uniform_grid.fit_searched(weight, diagonal[None], spec)
    shrunk = 0
    for row, group in itertools.product(range(5), range(3)):
        part = slice(16 * group, min(16 * group + 16, 40))
        own, seen = weight[row : row + 1, part], diagonal[part]
        losses = {}
        for i in range(25):
            ratio = np.float32(1 - i / 40)
            edges = np.array([[min(own.min(), 0) * ratio, max(own.max(), 0) * ratio]], np.float32)
            grid = uniform_grid.fit(edges, uniform_grid.GridSpec(3, None, scheme))
            table = uniform_grid.table(grid)[0, 0]
            misses = np.abs(own[0][:, None] - table[None]).min(axis=1)
            losses[float(grid.scale[0, 0])] = float((misses**2 * seen).sum())
        chosen = float(found.scale[row, group])
        assert losses[chosen] <= min(losses.values()) * (1 + 1e-4)
        shrunk += chosen < max(losses)
    assert shrunk > 5


def heavy_problem():
    """Weights with heavy tails, as trained layers have."""
    weight, hessian = problem(24, 96, 400)
    return weight * np.random.default_rng(2).standard_t(3, size=weight.shape).astype(np.float32), hessian


def test_a_sparse_part_lowers_the_loss_of_heavy_tails():
    weight, hessian = heavy_problem()
    losses = []
    for share in (0.0, 0.02):
        error = (run(weight, hessian, bits=3, group=32, sparse=share).weight - weight).astype(np.float64)
        losses.append(float(np.einsum("oi,ij,oj->", error, hessian, error)))
    assert losses[1] < 0.6 * losses[0]


def test_the_sparse_part_is_halos_and_is_paid_for():
    weight, hessian = heavy_problem()
    sparse, kept = split(weight, statistics(hessian), layer="l", budget=0.02)
    assert sparse.values.size == kept.sum() > 10
    dense, result = run(weight, hessian, bits=3), run(weight, hessian, bits=3, sparse=0.02)
    assert not result.mac_values[kept].any()
    steps = result.weight[kept] / sparse.scale[np.nonzero(kept)[0]]
    np.testing.assert_allclose(steps, np.rint(steps), atol=1e-3)
    assert result.bits.sparse == sparse_bits(sparse, 24, 96)
    assert result.bits.total == dense.bits.total + result.bits.sparse
    assert "2.00% of the weights in 8 bits beside the grid, chosen as HALO chooses them" in result.notes
    dynamic = run(weight, hessian, bits=3, group=32, sparse=0.02, groups="dynamic")
    assert not dynamic.mac_values[kept].any()
