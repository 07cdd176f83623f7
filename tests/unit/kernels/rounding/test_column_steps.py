"""Moves of codes in torch against a search over all words that computes the whole loss of each."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from haloquant.kernels.rounding import column_steps  # noqa: E402
from haloquant.kernels.rounding.word_tensors import word_tensors  # noqa: E402
from haloquant.quant.reference import moved_codes  # noqa: E402
from haloquant.quant.rounding.refinement import PRUNED  # noqa: E402
from support.quant_twins import NINE, SIXTEEN  # noqa: E402


@pytest.mark.parametrize("sparse", [False, True])
def test_every_move_is_that_of_a_search_over_all_words(sparse: bool) -> None:
    rng, books, (rows, width) = np.random.default_rng(7), (NINE, SIXTEEN), (12, 9)
    classes = rng.integers(0, 2, rows)
    words = [books[number].values.astype(np.float64) for number in classes]
    scale = rng.uniform(0.01, 0.03, rows).astype(np.float32)
    scale[0], scale[1] = 0.0, -scale[1]
    inputs = rng.normal(size=(3 * width, width))
    hessian = (inputs.T @ inputs / width).astype(np.float32)
    kept = rng.choice(3, (rows, width), p=(0.7, 0.2, 0.1)).astype(np.uint8) if sparse else np.zeros((rows, width), "u1")
    assert PRUNED == 2
    step = rng.uniform(0.005, 0.02, rows).astype(np.float32)
    step[2] = 0.0
    codes = rng.integers(0, 9, (rows, width)).astype(np.uint8)
    values = np.stack([own[part] for own, part in zip(words, codes, strict=True)]) * scale[:, None]
    values = np.where(kept == 1, rng.integers(-127, 128, kept.shape) * step[:, None], values)
    values = np.where(kept == PRUNED, 0.0, values).astype(np.float32)
    error = rng.normal(0, 0.5, values.shape)
    before = values.copy()
    wanted = moved_codes.move_codes(
        error, hessian.astype(float), words, scale.astype(float), kept, step.astype(float), codes.astype(np.int64),
        values.astype(float),
    )  # fmt: skip

    slope = torch.from_numpy((error @ hessian).astype(np.float32))
    made, chosen = torch.from_numpy(values), torch.from_numpy(codes)
    part = column_steps.SparsePart(torch.from_numpy(kept), torch.from_numpy(step)) if sparse else None
    moved = column_steps.plain_move_codes(
        slope, torch.from_numpy(hessian), torch.from_numpy(scale), torch.from_numpy(classes),
        word_tensors(books, torch.device("cpu")), part, torch.ones(rows, dtype=torch.bool), made, chosen,
    )  # fmt: skip
    np.testing.assert_array_equal(chosen.numpy(), wanted[0])
    np.testing.assert_allclose(made.numpy(), wanted[1], rtol=1e-5, atol=1e-7)
    left = error - (wanted[1] - before)
    np.testing.assert_allclose(slope.numpy(), left @ hessian, rtol=1e-3, atol=1e-4)
    assert moved.tolist() == (wanted[1] != before).any(axis=1).tolist() and moved.sum() > rows // 2
