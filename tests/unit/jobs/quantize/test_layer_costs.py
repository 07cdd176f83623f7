"""Costs of layers: simulated ones follow what a machine is bound by, measured ones are those of the table."""

from pathlib import Path

import numpy as np
import pytest

from haloquant.dvfs.classes import classes_at_clocks
from haloquant.errors import InputError, RecipeError, TargetError
from haloquant.jobs.quantize.layer_costs import (
    check_layer_costs,
    code_bits,
    cost_source,
    layer_costs,
    least_costs,
)
from haloquant.lm.checkpoint.reader import Checkpoint, open_checkpoint
from haloquant.quant.codebook import gaussian_sample
from haloquant.quant.tiles import make_grid
from haloquant.recipe import Budget, Hardware, Quantize, Recipe, Workload
from haloquant.records.operator_costs import MIXES, OperatorRow, OperatorTable
from haloquant.store.platforms import write_operator_table
from haloquant.store.profiles import find_profile
from support.hostile_files import model_folder

CLASSES = classes_at_clocks(
    find_profile("paper-22nm"), 0, gaussian_sample(8), (("fast", 9, 3.7e9), ("slow", 16, 2.33e9))
)
NONE = Budget()


def recipe(cost: str, tile: int = 8, budget: Budget = NONE, batch: int = 1) -> Recipe:
    return Recipe(
        hardware=Hardware(tile=tile), quantize=Quantize(cost=cost, budget=budget), workload=Workload(decode_batch=batch)
    )


@pytest.fixture(scope="module")
def checkpoint() -> Checkpoint:
    return open_checkpoint(model_folder())


@pytest.fixture
def file(checkpoint: Checkpoint, tmp_path: Path) -> Path:
    shapes = sorted({(layer.out_features, layer.in_features) for layer in checkpoint.layers})
    rows = [
        OperatorRow(*shape, mix, batch, 1e-9 * shape[0] * shape[1] * (1 + place), 1e-9, 1.0, None, 9)
        for shape in shapes
        for batch in (1, 4)
        for place, mix in enumerate(MIXES)
    ]
    write_operator_table(tmp_path / "ops.json", OperatorTable("m", "cpu", 2, 8, 0.0, 3, "", tuple(rows)))
    return tmp_path / "ops.json"


def test_the_mac_has_no_costs_of_layers(checkpoint: Checkpoint) -> None:
    for kind in ("time", "energy", "edp"):
        assert layer_costs(recipe(kind), checkpoint, CLASSES) is None
        check_layer_costs(recipe(kind), checkpoint)


def test_where_memory_is_the_limit_a_class_costs_its_stored_bits(checkpoint: Checkpoint) -> None:
    asked = recipe("simulated:edge_lpddr5x")
    found = layer_costs(asked, checkpoint, CLASSES)
    assert found is not None and found.energy_j is not None
    assert set(found.time_s) == {layer.name for layer in checkpoint.layers}
    for layer in checkpoint.layers:
        grid = make_grid(layer.out_features, layer.in_features, 8, 8)
        scales = 16 * grid.out_features * grid.across / (grid.out_features * grid.in_features)
        fast, slow = (code_bits(grid, words) + scales for words in (9, 16))
        seconds, joules = found.time_s[layer.name], found.energy_j[layer.name]
        assert joules[0] < joules[1]
        # Activations, the classes of tiles and a burst at the border come on top.
        assert seconds[0] / seconds[1] == pytest.approx(fast / slow, abs=0.12)
    more = layer_costs(recipe("simulated:edge_lpddr5x", batch=4096), checkpoint, CLASSES)
    assert more is not None and sum(s[0] for s in more.time_s.values()) > sum(s[0] for s in found.time_s.values())


@pytest.mark.parametrize("target", ["edge_lpddr5x", "paper_tpu", "tpuv4i_like"])
def test_no_words_cost_less_than_the_least(checkpoint: Checkpoint, target: str) -> None:
    asked = recipe(f"simulated:{target}", batch=64)
    found, least = layer_costs(asked, checkpoint, CLASSES), least_costs(asked, checkpoint, CLASSES.profile)
    assert found is not None and least is not None and found.energy_j is not None and least.energy_j is not None
    for name, seconds in found.time_s.items():
        assert 0 < least.time_s[name].min() <= seconds.min() * (1 + 1e-12)
    energies = [sum(joules.min() for joules in one.energy_j.values()) for one in (least, found)]
    assert 0.5 * energies[1] < energies[0] < energies[1]


def test_the_least_costs_of_a_table_are_its_own(checkpoint: Checkpoint, file: Path) -> None:
    asked = recipe(f"measured:{file}")
    found, least = layer_costs(asked, checkpoint, CLASSES), least_costs(asked, checkpoint, CLASSES.profile)
    assert found is not None and least is not None
    assert all(np.array_equal(least.time_s[name], seconds) for name, seconds in found.time_s.items())
    assert least_costs(recipe("time"), checkpoint, CLASSES.profile) is None


def test_measured_costs_are_those_of_the_table(checkpoint: Checkpoint, file: Path) -> None:
    found = layer_costs(recipe(f"measured:{file}", batch=4), checkpoint, CLASSES)
    assert found is not None and found.energy_j is None
    for layer in checkpoint.layers:
        weights = layer.out_features * layer.in_features
        assert found.time_s[layer.name] == pytest.approx(np.array([1e-9, 3e-9]) * weights)
    assert found.source == "measured on cpu with 2 thread(s) at 4 token(s) (nine, sixteen words)"


def test_what_does_not_fit_is_refused_before_any_work(checkpoint: Checkpoint, file: Path) -> None:
    with pytest.raises(TargetError, match="target must be one of"):
        cost_source(recipe("simulated:none"))
    with pytest.raises(InputError, match="must be a file"):
        cost_source(recipe("measured:none.json"))
    with pytest.raises(RecipeError, match=r"^the tile must be 8, that of the measured products of .*, not 16"):
        cost_source(recipe(f"measured:{file}", tile=16))
    with pytest.raises(InputError, match=r"a product of 2 token\(s\) with"):
        check_layer_costs(recipe(f"measured:{file}", batch=2), checkpoint)
    with pytest.raises(RecipeError, match="a budget of energy must be left out with a table without joules"):
        check_layer_costs(recipe(f"measured:{file}", budget=Budget(energy_j=1.0)), checkpoint)
