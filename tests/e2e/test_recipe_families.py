"""Every value of every recipe key meets every family of models: it runs, or it is refused in one sentence."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")

import haloquant
from haloquant.errors import HaloquantError
from haloquant.jobs import inputs
from haloquant.jobs.compare import job, results
from haloquant.jobs.inputs import Inputs
from haloquant.lm import model_check
from haloquant.lm.checkpoint.reader import Checkpoint
from haloquant.recipe import Recipe, read_recipe
from support.draws import daily
from support.model_families import TEXT, save_model, tiny_config
from support.recipe_keys import recipe_keys, with_value
from support.small_job import save_recipe

pytestmark = [pytest.mark.timeout(900), pytest.mark.slow, pytest.mark.thinned]

# Dense with other names, fused projections, transposed matrices, experts with a tensor each and stacked, state spaces,
# and text within a model of text and images.
FAMILIES = ("gpt2", "phi3", "opt", "bloom", "mpt", "mixtral", "gpt_oss", "bamba", "gemma3")
# Families whose values that are sound together are run to the end; `crosscheck/test_lm_families.py` runs the others.
RUN = ("gpt2", "gpt_oss", "gemma3")
# Values of every key that is not a path of a file; the first of each is the ordinary one.
VALUES: dict[str, tuple[Any, ...]] = {
    "seed": (0, 7),
    "device": ("auto", "cpu", "gpu", "cuda:99"),
    "model.path": (),
    "model.exclude": ((), (r"\.1\.",), ("no such layer",), ("(",)),
    "text.calibration": (),
    "text.calibration_tokens": (128, 1, 0),
    "text.evaluation": (),
    "text.evaluation_tokens": (128, 1, 0),
    "hardware.profile": ("default", "nangate45-serial-abc", "none"),
    "hardware.targets": (("edge_lpddr5x",), ("paper_tpu", "tpuv4i_like"), ("h200",), ()),
    "hardware.gpus": ((), ("h200",), ("edge_lpddr5x",)),
    "hardware.tile": (32, 48, 128, 0),
    "hardware.margin": (0.0, 0.1, 1.0),
    "hardware.delay_basis": ("static", "sensitised", "none"),
    "hardware.clocks_ghz": ((), (4.5, 3.0), (900.0, 1.0)),
    "quantize.goals": (("bal",), ("acc-opt",), ("perf-opt", "bal"), ("bal", "bal"), ()),
    "quantize.rivals": (
        (),
        ("squeezellm-w4",),
        ("boa-w4-g128",),
        ("awq-w4-g128",),
        ("zeroquant-global-w4-g64", "smoothquant-w4-a85"),
        ("none",),
    ),
    "quantize.activations": ("token", "tensor", "mixed", "none", "row"),
    "quantize.activation_bits": (8, 4, 2, 9),
    "quantize.low_share": (0.5, 0.0, 1.0, 1.5),
    "quantize.low_bits": (4, 2, 8),
    "quantize.sparse_budget": (0.005, 0.0, 0.5, 1.0),
    "quantize.prune_to_zero": (0.0, 0.5, 1.0),
    "quantize.fast_words": (9, 2, 10),
    "quantize.slow_words": (16, 4, 1),
    "quantize.fast_loss_db": (2.5, 0.0, -1.0),
    "quantize.slow_loss_db": (1.0, 200.0, 201.0),
    "quantize.compensate": (True, False),
    "quantize.refine": ("auto", 0.5, 0.0, 1.0, 1.5),
    "quantize.value_hessian": ("attention", "inputs", "none"),
    "quantize.calibration_dtype": ("float32", "bfloat16", "float16"),
    "quantize.method": ("haloquant", "paper", "other"),
    "quantize.kept_share": (0.95, 0.3, 1.5),
    "quantize.energy_weight": (0.0, 1.0, -1.0),
    "quantize.cost": ("time", "energy", "edp", "simulated:edge_lpddr5x", "simulated:h200", "measured:none", "money"),
    "quantize.transform": ("none", "smoothquant", "awq", "rotation"),
    "quantize.input_sparsity": (0.0, 0.5, 0.25, 1.5),
    "quantize.input_allocation": ("uniform", "divergence", "evolution"),
    "quantize.sweep": ((), (0.5,), (0.0, 1.0), (2.0,)),
    "quantize.budget.bits_per_weight": (0.0, 100.0, -1.0),
    "quantize.budget.time_s": (0.0, 1.0, float("nan")),
    "quantize.budget.energy_j": (0.0, 1.0),
    "quantize.budget.level": ("tile", "layer", "row"),
    "workload.prefill_tokens": (16, 1, 0),
    "workload.decode_batch": (1, 3, 0),
    "workload.decode_context": (16, 1, 0),
    "workload.shapes": ("model", "opt-1.3b", "none"),
}


@pytest.fixture(autouse=True, scope="module")
def only_results() -> Iterator[None]:
    """A model is opened once for each list of layers and pair of texts, as its checks depend on nothing else.

    Neither drawings nor sweeps of a machine's settings are made: they take most of a small job's time.
    """
    opened, checked = {}, {}

    def read_inputs(recipe: Recipe) -> Inputs:
        key = (recipe.model, recipe.text.calibration, recipe.text.evaluation)
        if key not in opened:
            opened[key] = inputs.read_inputs(recipe)
        return opened[key]

    def check_model(checkpoint: Checkpoint) -> None:
        if id(checkpoint) not in checked:
            checked[id(checkpoint)] = checkpoint, really_check(checkpoint)

    really_check = model_check.check_model
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(job, "read_inputs", read_inputs)
        patch.setattr(model_check, "check_model", check_model)
        patch.setattr(job, "write_report", lambda *_: None)
        patch.setattr(results, "sweep_rows", lambda *_: [])
        patch.setattr(results, "new_silicon_results", lambda *_: [])
        yield


@pytest.fixture(scope="module", params=daily(FAMILIES, ["gpt2", "opt", "mixtral", "bamba", "gemma3"]))
def recipe(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Recipe:
    home = tmp_path_factory.mktemp(request.param)
    save_model(home / "model", tiny_config(request.param))
    (home / "text.txt").write_text(TEXT)
    ordinary = read_recipe(save_recipe(home / "recipe.toml", home / "model", home / "text.txt"))
    for key, values in VALUES.items():
        ordinary = with_value(ordinary, key, values[0]) if values else ordinary
    return ordinary


def said(recipe: Recipe) -> str:
    """What is said against a recipe; nothing if it is sound."""
    try:
        haloquant.validate(recipe)
    except HaloquantError as error:
        assert "\n" not in str(error) and len(str(error)) < 1500
        return str(error)
    return ""


def test_every_key_has_values() -> None:
    assert list(VALUES) == list(recipe_keys())


def test_each_value_is_sound_or_refused_and_what_is_sound_together_runs(recipe: Recipe, tmp_path: Path) -> None:
    assert said(recipe) == ""
    number = FAMILIES.index(Path(recipe.model.path).parent.name[:-1])  # pytest numbers the folder
    together = recipe
    for key, values in VALUES.items():
        sound = [value for value in values if said(with_value(recipe, key, value)) == ""]
        assert not values or sound[0] == values[0]
        if sound:
            tried = with_value(together, key, sound[number % len(sound)])
            together = tried if said(tried) == "" else together
    if FAMILIES[number] not in RUN:
        return
    made = haloquant.run(together, tmp_path / "out", progress=False)
    assert all(row.perplexity > 1 for row in made.results.methods)
    haloquant.verify(tmp_path / "out" / "model")
