"""What tiles use of each budget, and the classes within budgets, by hand."""

from dataclasses import replace

import numpy as np
import pytest

from haloquant.errors import InfeasibleError
from haloquant.jobs.quantize.budgets import allocate_within, budget_resources, check_budgets, spread, tile_bits
from haloquant.jobs.quantize.layer_costs import LayerCosts
from haloquant.lm.checkpoint.reader import open_checkpoint
from haloquant.quant.format.bit_layout import tile_offsets
from haloquant.quant.tiles import make_grid
from haloquant.recipe import Budget, Hardware, Quantize, Recipe
from haloquant.store.profiles import find_profile
from support.hostile_files import model_folder

GRIDS = {"a": make_grid(32, 16, 16, 16), "b": make_grid(20, 40, 16, 16)}  # 2 tiles, and 2 x 3 of which 4 not full
COSTS = LayerCosts(
    {"a": np.array([2.0, 4.0]), "b": np.array([1.0, 3.0])}, {"a": np.array([5.0, 7.0]), "b": np.array([1.0, 1.0])}, "x"
)
LOSS = np.array([[9.0, 0.0], [1.0, 0.0], *[[2.0, 1.0]] * 6])


def test_bits_of_tiles_are_those_of_the_packed_form() -> None:
    for words, column in ((9, 0), (16, 1)):
        whole = sum(
            8 * int(tile_offsets(grid, np.zeros((grid.down, grid.across), np.uint8), (words,))[-1])
            for grid in GRIDS.values()
        )
        assert tile_bits(GRIDS, (9, 16))[:, column].sum() == whole
    bits = tile_bits(GRIDS, (9, 16))
    assert bits.shape == (8, 2)
    assert bits[0].tolist() == [8 * 112, 8 * 128]  # 16 x 16: 3 x 32 + 8 bytes in whole blocks of 16, or 16 x 8


def test_a_layers_cost_is_divided_by_weights() -> None:
    seconds = spread(GRIDS, COSTS.time_s)
    assert seconds[:2].tolist() == [[1.0, 2.0], [1.0, 2.0]]
    assert seconds[2:].sum(axis=0) == pytest.approx([1.0, 3.0])
    assert seconds[2:, 0] * 800 == pytest.approx([256, 256, 128, 64, 64, 32])


def test_every_limit_is_a_resource() -> None:
    budget = Budget(bits_per_weight=9.0, time_s=5.0, energy_j=10.0)
    size, time, energy = budget_resources(budget, GRIDS, (9, 16), COSTS, 100.0)
    weights = 32 * 16 + 20 * 40
    fixed = 100 + 16 * (32 + 20 * 3) + 8 * 8 + 2 * (64 + 8 * 25)  # sparse part, scales, map, shapes and words
    assert size.use[:, 0].sum() * weights == pytest.approx(tile_bits(GRIDS, (9, 16))[:, 0].sum() + fixed)
    assert (size.most, time.most, energy.most) == (9.0, 5.0, 10.0)
    assert time.use[:, 1].sum() == pytest.approx(7.0) and energy.use[:, 1].sum() == pytest.approx(8.0)
    assert [one.name for one in budget_resources(Budget(time_s=5.0), GRIDS, (9, 16), COSTS, 0.0)] == ["time"]
    with pytest.raises(ValueError, match="must have the costs"):
        budget_resources(budget, GRIDS, (9, 16), replace(COSTS, energy_j=None), 0.0)


def test_tiles_or_whole_layers_are_chosen() -> None:
    budget = Budget(time_s=5.0)  # all fast takes 3 s; a tile of `a` takes 1 s more, all of `b` 2 s more
    resources = budget_resources(budget, GRIDS, (9, 16), COSTS, 0.0)
    tiles = allocate_within(LOSS, resources, GRIDS, budget, "a test")
    assert tiles.classes[0] == 1 and tiles.classes[2:].sum() >= 2  # 9 for 1 s, then parts of `b`
    assert tiles.note.startswith("bal is chosen by tile within budgets: time ") and "of 5 s (a test);" in tiles.note
    whole = replace_level(budget)
    layers = allocate_within(LOSS, resources, GRIDS, whole, "a test")
    assert layers.classes.tolist() == [1, 1, 0, 0, 0, 0, 0, 0]  # `a` saves 10 for 2 s, `b` 6 for 2 s
    assert layers.note.endswith("its predicted loss 12 is at most 0.00% above the least possible")
    with pytest.raises(InfeasibleError, match="the budget of time must be at least 3 s"):
        small = budget_resources(Budget(time_s=2.0), GRIDS, (9, 16), COSTS, 0.0)
        allocate_within(LOSS, small, GRIDS, budget, "")


def test_a_budget_that_no_words_meet_is_refused_with_the_least_that_would_do() -> None:
    checkpoint, mac = open_checkpoint(model_folder()), find_profile("paper-22nm")

    def check(**limits: float) -> None:
        check_budgets(
            Recipe(
                hardware=Hardware(tile=8), quantize=Quantize(cost="simulated:edge_lpddr5x", budget=Budget(**limits))
            ),
            checkpoint,
            mac,
        )

    for name, key in (("size", "bits_per_weight"), ("time", "time_s"), ("energy", "energy_j")):
        with pytest.raises(InfeasibleError, match=rf"^the budget of {name} must be at least ") as caught:
            check(**{key: 1e-12})
        said = str(caught.value)
        assert "the least that words of paper-22nm take without a sparse part, not 1e-12 " in said
        least = float(said.split("at least ")[1].split()[0])
        check(**{key: least})
        with pytest.raises(InfeasibleError):
            check(**{key: 0.999 * least})
        if key == "bits_per_weight":  # 16 bits for a scale of 8 weights, 8 for a tile of 64, and codes in base 9
            assert least > 2 + 1 / 8 + 16 / 5


def replace_level(budget: Budget) -> Budget:
    return Budget(budget.bits_per_weight, budget.time_s, budget.energy_j, "layer")
