"""Products are timed in the order of the model; the clock and the counter of these tests are known."""

from itertools import count

import numpy as np
import pytest

pytest.importorskip("torch")

import torch

from haloquant.jobs import operator_speed
from haloquant.jobs.energy_counters import EnergyCounter
from haloquant.jobs.operator_speed import OperatorSettings, drawn_layers, measure_operators, time_layers
from haloquant.kernels.dispatch import dequantize, linear
from haloquant.records.operator_costs import MIXES

SHAPES = [(48, 32), (32, 80), (48, 32)]
SETTINGS = OperatorSettings((1, 3), 2, 16, 0.05)
CPU = torch.device("cpu")


def test_drawn_layers_have_the_words_and_the_sparse_part_that_are_asked_for() -> None:
    for mix, words in zip(MIXES, ({9}, {9, 16}, {16}, {256}), strict=True):
        layers = drawn_layers(SHAPES, mix, SETTINGS, CPU)
        assert [(x.grid.out_features, x.grid.in_features) for x in layers] == SHAPES
        assert layers[0] is not layers[2]  # a model's layers do not share their bytes
        for layer in layers:
            assert {layer.sizes[c] for c in layer.classes.unique().tolist()} == words
            assert layer.sparse is not None
            assert layer.sparse.value.numel() == round(0.05 * layer.grid.in_features) * layer.grid.out_features
            x = torch.randn(2, layer.grid.in_features)
            torch.testing.assert_close(linear(x, layer), x @ dequantize(layer).T, rtol=1e-4, atol=1e-4)
    nine, sixteen = (sum(x.bytes for x in drawn_layers(SHAPES, mix, SETTINGS, CPU)) for mix in ("nine", "sixteen"))
    assert nine < sixteen


def test_layers_beyond_enough_bytes_take_their_turn_again() -> None:
    layers = drawn_layers([SHAPES[0]] * 5, "nine", SETTINGS, CPU, enough_b=1)
    assert len({id(layer) for layer in layers}) == 1 and len(layers) == 5


def test_the_median_of_a_shape_is_over_all_its_products(monkeypatch: pytest.MonkeyPatch) -> None:
    # A clock that the product itself moves: 1 s for 48 outputs, 5 s for 32; the second timed pass is slower by 1 s.
    now, calls = [0.0], count()

    def product(x: torch.Tensor, layer) -> None:
        slower = next(calls) // 3 == 2  # passes are 0 (not timed), 1 and 2
        now[0] += (1.0 if layer.grid.out_features == 48 else 5.0) + slower

    monkeypatch.setattr(operator_speed, "linear", product)
    counter = EnergyCounter("known", lambda: 10.0 * now[0], 0.0)
    layers = drawn_layers(SHAPES, "half", SETTINGS, CPU)
    rows = time_layers(layers, "half", 3, 2, CPU, [counter], lambda: now[0])
    assert [(row.out_features, row.in_features) for row in rows] == SHAPES[:2]
    assert [(row.median_s, row.least_s, row.most_s) for row in rows] == [(1.5, 1.0, 2.0), (5.5, 5.0, 6.0)]
    assert [row.energy_j for row in rows] == [15.0, 55.0]  # 10 W, by time
    assert all(row.read_b == layer.bytes for row, layer in zip(rows, layers, strict=False))
    still = EnergyCounter("still", lambda: 7.0, 0.0)
    assert time_layers(layers, "half", 3, 2, CPU, [still], lambda: now[0])[0].energy_j is None


def test_every_shape_mix_and_batch_has_its_row() -> None:
    seen: list[tuple[int, int]] = []
    table = measure_operators("m", SHAPES, SETTINGS, "cpu", lambda _, done, whole: seen.append((done, whole)))
    keys = {(row.out_features, row.in_features, row.mix, row.batch) for row in table.rows}
    assert len(keys) == len(table.rows) == 2 * len(MIXES) * 2
    assert seen[-1] == (8, 8) and table.batches == (1, 3)
    assert all(0 < row.least_s <= row.median_s <= row.most_s and np.isfinite(row.most_s) for row in table.rows)
