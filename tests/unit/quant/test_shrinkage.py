"""Hessians of few tokens: worked by hand, and judged on tokens of another distribution."""

import numpy as np
import pytest

from haloquant.quant.layer import dequantize, quantize_weight_compensated
from haloquant.quant.shrinkage import shrunk
from haloquant.quant.tiles import make_grid, uniform_map
from haloquant.records import Codebook, LayerStatistics, OperatingPoint

BOOK = Codebook("all", np.arange(-8, 8, dtype=np.int16), OperatingPoint(0.8, 1e9), 0.0)


def statistics(inputs: np.ndarray) -> LayerStatistics:
    return LayerStatistics("l", len(inputs), hessian=(2 / len(inputs) * inputs.T @ inputs).astype(np.float32))


@pytest.mark.parametrize(("tokens", "share"), [(1, 0.25), (2, 0.25), (4, 0.125), (15, 1 / 30), (16, 0.0), (99, 0.0)])
def test_the_share_falls_with_the_tokens(tokens: int, share: float) -> None:
    hessian = np.array([[3.0, 1.0], [1.0, 1.0]], np.float32)  # mean diagonal 2
    found = shrunk(LayerStatistics("l", tokens, hessian=hessian)).hessian
    assert found is not None
    np.testing.assert_allclose(found, hessian + 2 * share * np.eye(2), rtol=1e-6)
    np.testing.assert_array_equal(hessian, [[3.0, 1.0], [1.0, 1.0]])


def test_the_hessian_of_value_rows_is_shrunk_too() -> None:
    rows = np.array([False, True])
    known = LayerStatistics(
        "l", 1, hessian=np.eye(2, dtype=np.float32), value_hessian=np.eye(2, dtype=np.float32) * 4, value_rows=rows
    )
    found = shrunk(known)
    np.testing.assert_array_equal(found.hessian, 1.25 * np.eye(2))
    np.testing.assert_array_equal(found.value_hessian, 5 * np.eye(2))
    assert found.value_rows is rows


def test_without_a_hessian_nothing_changes() -> None:
    known = LayerStatistics("l", 1)
    assert shrunk(known) is known


def test_errors_do_not_go_where_the_few_tokens_say_nothing() -> None:
    rng = np.random.default_rng(0)
    weight = rng.normal(size=(64, 64)).astype(np.float32)
    few = rng.normal(size=(48, 24)) @ rng.normal(size=(24, 64))  # 48 tokens that span 24 of 64 dimensions
    other = rng.normal(size=(500, 64))

    def errors(known: LayerStatistics) -> list[float]:
        tiles = uniform_map("l", make_grid(64, 64, 32, 32))
        q = quantize_weight_compensated(weight, tiles=tiles, codebooks=(BOOK,), statistics=known)
        away = weight - dequantize(q)
        return [float(np.linalg.norm(x @ away.T) / np.linalg.norm(x @ weight.T)) for x in (few, other)]

    plain, safe = errors(statistics(few)), errors(shrunk(statistics(few)))
    assert safe[1] < 0.8 * plain[1]
    assert safe[0] < 2 * plain[0]
