"""Every key of a recipe is either covered by the key of the passes, or it cannot change what the passes make."""

from dataclasses import replace
from typing import Any

import numpy as np

from haloquant.jobs.quantize.layer_rounding import RoundingPlace
from haloquant.jobs.quantize.request import Request, made_by, passes_key
from haloquant.lm.checkpoint.reader import open_checkpoint
from haloquant.recipe import Hardware, Recipe
from haloquant.store.profiles import find_profile
from support.hostile_files import model_folder
from support.recipe_keys import recipe_keys, with_value

COVERED: dict[str, Any] = {
    "seed": 1,
    "hardware.tile": 16,
    "hardware.margin": 0.1,
    "hardware.clocks_ghz": (3.0, 2.0),
    "quantize.sparse_budget": 0.01,
    "quantize.prune_to_zero": 0.25,
    "quantize.fast_words": 8,
    "quantize.slow_words": 15,
    "quantize.fast_loss_db": 1.5,
    "quantize.slow_loss_db": 0.5,
    "quantize.compensate": False,
    "quantize.refine": 0.25,
    "quantize.value_hessian": "inputs",
    "quantize.calibration_dtype": "bfloat16",
    "quantize.transform": "awq",
    "quantize.method": "paper",
    "quantize.kept_share": 0.9,
    "quantize.energy_weight": 0.1,
    "quantize.cost": "edp",
    "quantize.budget.bits_per_weight": 3.7,
    "quantize.budget.time_s": 1e-3,
    "quantize.budget.energy_j": 1e-3,
    "quantize.budget.level": "layer",
}
# The model, the texts and the MAC are covered by what they hold, and not by their names.
BY_CONTENT = ("model.path", "model.exclude", "text.calibration", "text.calibration_tokens", "hardware.profile",
              "hardware.delay_basis")  # fmt: skip
# Where torch computes is covered by the device that was found.
DEVICE = ("device",)
# What is done with the layers afterwards: goals choose among classes whose losses are measured already. The decode step
# is covered where its costs choose the classes (below).
AFTERWARDS = (
    "text.evaluation", "text.evaluation_tokens", "hardware.targets", "hardware.gpus", "quantize.goals",
    "quantize.rivals", "quantize.activations", "quantize.activation_bits", "quantize.low_share",
    "quantize.low_bits", "quantize.input_sparsity",
    "quantize.input_allocation",
    "quantize.sweep", "workload.prefill_tokens", "workload.decode_batch",
    "workload.decode_context", "workload.shapes",
)  # fmt: skip


def test_every_key_of_a_recipe_is_in_one_of_the_lists() -> None:
    assert sorted([*COVERED, *BY_CONTENT, *DEVICE, *AFTERWARDS]) == sorted(recipe_keys())


def test_the_key_changes_with_every_setting_and_every_content() -> None:
    folder = model_folder()
    windows = np.arange(12).reshape(3, 4)
    first = Request(find_profile("default"), None, Recipe(hardware=Hardware(tile=8)), windows, "3 windows")
    checkpoint = open_checkpoint(folder)

    def key(sha256: str = "a", exclude: tuple[str, ...] = (), **changes: Any) -> str:
        chosen = open_checkpoint(folder, exclude=exclude) if exclude else checkpoint
        return passes_key(sha256, chosen, replace(first, **changes))

    seen = {name: key(recipe=with_value(first.recipe, name, value)) for name, value in COVERED.items()}
    seen |= {"": key(), "model": key("b"), "exclude": key(exclude=("q_proj",))}
    seen |= {"tokens": key(calibration=windows + 1), "windows": key(calibration=windows.reshape(4, 3))}
    seen |= {
        "data-free": key(calibration=None),
        "MAC": key(profile=replace(first.profile, area_m2=1.0)),
        "GPU": key(device="cuda:0"),
        "rounded on a GPU": key(place=RoundingPlace("cuda:0")),
        "calibrated and rounded there": key(device="cuda:0", place=RoundingPlace("cuda:0")),
        "rounded in torch": key(place=RoundingPlace("cpu", "torch")),
        "on a card": key(device="cuda:0", card="one card"),
        "on another card": key(device="cuda:0", card="another card"),
        "rounded on a card": key(place=RoundingPlace("cuda:0"), card="one card"),
    }
    assert len(set(seen.values())) == len(seen)
    assert key(place=RoundingPlace("cuda:0")) == key(place=RoundingPlace("cuda:3"))
    assert key(device="cuda:0", card="one card") == key(device="cuda:1", card="one card")
    assert key(card="one card") == key()  # nothing computes there
    assert key(goal="bal") == key(source="other words") == key()


def test_the_decode_step_counts_where_its_costs_choose_the_classes() -> None:
    checkpoint = open_checkpoint(model_folder())

    def key(cost: str, name: str, value: int) -> str:
        recipe = with_value(with_value(Recipe(), "quantize.cost", cost), name, value)
        return passes_key("a", checkpoint, Request(find_profile("default"), None, recipe, None, "none"))

    for name in ("workload.decode_batch", "workload.decode_context"):
        assert key("simulated:edge_lpddr5x", name, 1) != key("simulated:edge_lpddr5x", name, 2)
        assert key("energy", name, 1) == key("energy", name, 2)
    assert len({key(f"simulated:{name}", "seed", 0) for name in ("edge_lpddr5x", "paper_tpu", "tpuv4i_like")}) == 3


def test_how_a_model_was_made_is_said() -> None:
    request = Request(find_profile("default"), "bal", Recipe(), None, "nothing")
    assert made_by(request, "bal") == {"goal": "bal", "source": "nothing"}
    scaled = replace(request, recipe=with_value(request.recipe, "quantize.transform", "awq"))
    assert made_by(scaled, "bal")["transform"] == "awq"
    sparse = replace(request, recipe=with_value(request.recipe, "quantize.input_sparsity", 0.5))
    assert made_by(sparse, "bal")["input sparsity"] == "0.5, uniform"
    mixed = replace(request, recipe=with_value(request.recipe, "quantize.activations", "mixed"))
    assert made_by(mixed, "bal")["tokens in low bits"] == "0.5, 4 of 8"
    assert made_by(replace(request, card="NVIDIA H100"), "bal")["card"] == "NVIDIA H100"
