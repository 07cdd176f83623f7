"""Scores and thresholds against plain loops and a singular value decomposition."""

import numpy as np
import pytest

from haloquant.errors import InputError
from haloquant.quant.input_sparsity.scores import InputMask, column_norms, score_thresholds
from haloquant.quant.reference import input_sparsity as loops
from haloquant.quant.reference.input_sparsity import kept_inputs


def _drawn(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    weight = generator.normal(size=(24, 16)) * generator.uniform(0.1, 2, 16)
    return weight.astype(np.float32), generator.standard_t(3, (40, 16)).astype(np.float32)


def test_norms_are_those_of_the_rows_of_v_s() -> None:
    """R-Sparse takes the norm of row j of V S, where W = U S V^T: it is that of column j of W."""
    weight, _ = _drawn()
    _, s, vt = np.linalg.svd(weight, full_matrices=False)
    rows = np.linalg.norm(vt.T * s, axis=1)
    np.testing.assert_allclose(column_norms(weight), rows / rows.max(), rtol=6e-4)  # float16 has 11 bits
    np.testing.assert_allclose(column_norms(weight), loops.column_norms(weight.tolist()), rtol=6e-4)


def test_norms_of_extreme_weights_are_finite() -> None:
    weight, _ = _drawn()
    for factor in (1e-30, 1e30):
        np.testing.assert_array_equal(column_norms(weight * np.float32(factor)), column_norms(weight))
    assert not column_norms(np.zeros((3, 4), np.float32)).any()


@pytest.mark.parametrize("level", [0.25, 0.5, 0.83])
def test_thresholds_and_masked_products_are_those_of_plain_loops(level: float) -> None:
    weight, x = _drawn()
    norm = column_norms(weight)
    ((found, share),) = score_thresholds(x, norm, [level])
    slow = loops.threshold(x.tolist(), norm.tolist(), level)
    assert found == pytest.approx(slow, rel=1e-6)
    kept = kept_inputs(x, InputMask(norm, found, level))
    assert np.mean(~kept) == share == pytest.approx(level, abs=1 / kept.size)
    for token, some in zip(x, kept, strict=True):
        expected = loops.masked_product(weight.tolist(), token.tolist(), norm.tolist(), found)
        np.testing.assert_allclose(weight @ np.where(some, token, 0), expected, rtol=1e-5, atol=1e-5)


def test_level_zero_keeps_even_an_input_of_zero() -> None:
    weight, x = _drawn()
    x[0, 3] = 0
    norm = column_norms(weight)
    ((threshold, share),) = score_thresholds(x, norm, [0.0])
    assert kept_inputs(x, InputMask(norm, threshold, share)).all() and share == 0


def test_inputs_that_are_zero_anyway_count_as_left_out() -> None:
    """After a ReLU 80 % of the inputs are zero: at a level of one half no other input is left out."""
    x = np.where(np.arange(100) < 80, 0, np.arange(100)).astype(np.float32)[None]
    norm = np.ones(100, np.float16)
    ((threshold, share),) = score_thresholds(x, norm, [0.5])
    assert (threshold, share) == (0, 0.8)
    assert np.flatnonzero(kept_inputs(x, InputMask(norm, threshold, share))[0]).tolist() == list(range(80, 100))


@pytest.mark.parametrize(("x", "said"), [(np.zeros((0, 3)), "at least one token"), (np.full((1, 3), np.nan), "finite")])
def test_samples_that_are_refused(x: np.ndarray, said: str) -> None:
    with pytest.raises(InputError, match=said):
        score_thresholds(x.astype(np.float32), np.ones(3, np.float16), [0.5])
