"""The sparse part: who is chosen, and how it is stored."""

import numpy as np
import pytest

from haloquant.errors import InputError
from haloquant.quant.sparse import largest, mask_of, split
from haloquant.records import LayerStatistics, SparseKind
from support.quant_twins import random_statistics, random_weight


def test_outliers_by_hand() -> None:
    weight = np.zeros((10, 100), np.float32)
    weight[:, ::2], weight[:, 1::2] = 1, -1  # standard deviation about 1
    weight[3, 7], weight[8, 0], weight[8, 1] = 9, -12, 2.9
    sparse, mask = split(weight)
    assert list(zip(sparse.rows.tolist(), sparse.cols.tolist(), strict=True)) == [(3, 7), (8, 0)]
    assert sparse.values.tolist() == [127, -127]
    assert sparse.kind.tolist() == [SparseKind.OUTLIER] * 2
    assert np.array_equal(mask, mask_of(sparse, 100))
    assert np.allclose(sparse.values * sparse.scale[sparse.rows], [9, -12], rtol=1e-3)


def test_salient_first_then_the_farthest_outliers() -> None:
    weight = random_weight(0, 100, 100, 2.5)
    fisher = np.zeros((100, 100), np.float32)
    fisher[7, 7], fisher[50, 3] = 2, 1
    weight[7, 7], weight[50, 3] = 1e-3, 1e-3
    sparse, _ = split(weight, LayerStatistics("l", 1, fisher=fisher), budget=0.003, salient=0.0002)
    kinds = dict(zip(zip(sparse.rows.tolist(), sparse.cols.tolist(), strict=True), sparse.kind.tolist(), strict=True))
    assert len(kinds) == 30
    assert kinds[7, 7] == kinds[50, 3] == SparseKind.SALIENT
    outliers = [abs(weight[place]) for place, kind in kinds.items() if kind == SparseKind.OUTLIER]
    assert sorted(outliers) == sorted(np.sort(np.abs(weight.ravel()))[-28:].tolist())


@pytest.mark.parametrize("budget", [0.0, 0.001, 0.005])
def test_budget_holds(budget) -> None:
    weight, statistics = random_weight(1, 64, 300, 2.0), random_statistics(1, 64, 300)
    sparse, mask = split(weight, statistics, budget=budget)
    assert sparse.values.size == mask.sum() <= budget * weight.size
    order = sparse.rows.astype(np.int64) * 300 + sparse.cols
    assert np.all(np.diff(order) > 0)


def test_a_constant_layer_has_no_outliers() -> None:
    sparse, mask = split(np.full((4, 4), 2.0, np.float32))
    assert sparse.values.size == 0
    assert not mask.any()


def test_largest_breaks_ties_by_place() -> None:
    assert sorted(largest(np.array([1.0, 3, 3, 3, 2]), 2).tolist()) == [1, 2]
    assert largest(np.array([1.0]), 0).size == 0
    assert largest(np.array([1.0, 2]), 5).tolist() == [0, 1]


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        ({"budget": 1.5}, "budget must be a share of all weights within 0..1, not 1.5"),
        ({"salient": -0.1}, "salient must be a share of all weights within 0..1, not -0.1"),
        ({"sigma": 0.0}, "sigma must be positive, not 0.0"),
    ],
)
def test_refusals(more, sentence) -> None:
    with pytest.raises(InputError) as caught:
        split(random_weight(0, 4, 4), **more)
    assert str(caught.value) == sentence
