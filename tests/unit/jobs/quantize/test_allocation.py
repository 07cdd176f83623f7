"""What a tile costs in each class, and the path of the paper's rule."""

import numpy as np
import pytest

from haloquant.accel.workload.synthetic_tiles import gaussian_frequency
from haloquant.dvfs.classes import Classes, classes_at_clocks
from haloquant.jobs.quantize.allocation import (
    FAST,
    SLOW,
    build_allocator,
    choose_allocator,
    class_cost,
    paper_allocator,
    tile_cost,
)
from haloquant.quant.codebook import gaussian_sample
from haloquant.quant.tiles import make_grid
from haloquant.recipe import Quantize
from haloquant.store.profiles import find_profile

GRIDS = {"a": make_grid(32, 16, 16, 16), "b": make_grid(16, 48, 16, 16)}
SENSITIVITY = {"a": np.array([[3.0], [1.0]]), "b": np.array([[1.0, 98.0, 1.0]])}
LOSS = np.array([[5.0, 1.0], [2.0, 1.0], [1.0, 0.5], [90.0, 10.0], [1.0, 0.9]])


@pytest.fixture(scope="module")
def classes() -> Classes:
    sizes = (("fast", 9, 3.7e9), ("slow", 16, 2.33e9))
    return classes_at_clocks(find_profile("paper-22nm"), 0, gaussian_sample(8), sizes)


def test_costs_are_the_period_the_energy_and_their_product(classes: Classes) -> None:
    time_s, energy_j, edp = (class_cost(classes, kind) for kind in ("time", "energy", "edp"))
    assert time_s.tolist() == [1 / 3.7e9, 1 / 2.33e9]
    profile = classes.profile
    for index, book in enumerate(classes.codebooks[:-1]):
        held = np.isin(profile.weights, book.values)
        assert energy_j[index] == pytest.approx(gaussian_frequency(book.values) @ profile.energy_j[0][held])
    assert edp == pytest.approx(time_s * energy_j) and energy_j[FAST] < energy_j[SLOW]


def test_the_papers_rule_keeps_the_share_in_every_layer_and_ends_at_all_slow() -> None:
    made = paper_allocator(GRIDS, LOSS, np.array([1.0, 2.0]), SENSITIVITY, 0.95)
    kept = {layer: part.codebook.ravel().tolist() for layer, part in made.goal_maps("acc-opt").items()}
    assert kept == {"a": [SLOW, SLOW], "b": [FAST, SLOW, FAST]}  # 3 of 4 is less than 95 %; 98 of 100 is enough
    loose = paper_allocator(GRIDS, LOSS, np.array([1.0, 2.0]), SENSITIVITY, 0.75).goal_maps("acc-opt")
    assert loose["a"].codebook.ravel().tolist() == [SLOW, FAST]
    fastest = made.goal_maps("perf-opt")
    assert all((part.codebook == FAST).all() for part in fastest.values())
    assert (made.path.at(5) == SLOW).all()
    assert made.path.cost.tolist() == [5.0, 6.0, 7.0, 8.0, 9.0, 10.0]
    assert made.path.loss[0] == LOSS[:, FAST].sum() and made.path.loss[-1] == pytest.approx(LOSS[:, SLOW].sum())


def test_bal_is_the_knee_of_loss_over_cost_on_that_path() -> None:
    made = paper_allocator(GRIDS, LOSS, np.array([1.0, 2.0]), SENSITIVITY, 0.95)
    slow = np.concatenate([part.codebook.ravel() for part in made.goal_maps("bal").values()])
    assert slow.tolist() == [SLOW, FAST, FAST, SLOW, FAST]  # the first tile of each layer saves most


def test_settings_choose_the_path_and_only_the_paper_asks_for_sensitivities(classes: Classes) -> None:
    def none() -> dict[str, np.ndarray]:
        raise AssertionError("not needed")

    ours = choose_allocator(Quantize(cost="energy"), GRIDS, LOSS, classes, none)
    other = build_allocator(GRIDS, LOSS, class_cost(classes, "energy"))
    assert ours.path.cost.tolist() == other.path.cost.tolist() and ours.accurate is None
    paper = choose_allocator(Quantize(method="paper", kept_share=0.5), GRIDS, LOSS, classes, lambda: SENSITIVITY)
    assert paper.accurate == 2


def test_energy_of_a_border_tile_is_that_of_its_weights_and_its_time_that_of_a_full_one() -> None:
    grids = {"x": make_grid(6, 4, 4, 4)}
    cost = np.array([1.0, 2.0])
    assert tile_cost(grids, cost, "time").tolist() == [[1.0, 2.0], [1.0, 2.0]]
    assert tile_cost(grids, cost, "energy").tolist() == [[1.0, 2.0], [0.5, 1.0]]
    assert tile_cost(grids, cost, "edp").tolist() == [[1.0, 2.0], [0.5, 1.0]]
