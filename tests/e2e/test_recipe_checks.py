"""`haloquant run --validate` finds what would stop a job after its work has begun; the job itself begins with it."""

import json
import shutil
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

import haloquant
from haloquant.cli.app import invoke
from haloquant.errors import HaloquantError, RecipeError
from haloquant.jobs import recipe_checks
from haloquant.recipe import Quantize, Recipe
from haloquant.store.profiles import find_profile, write_profile
from support.small_job import save_recipe


@pytest.fixture
def recipe(tiny_folder: Path, small_text: Path, tmp_path: Path) -> Path:
    return save_recipe(tmp_path / "recipe.toml", tiny_folder, small_text)


def refused(recipe: Path, capfd: pytest.CaptureFixture[str], old: str, new: str, code: int = 2) -> str:
    """What --validate says of a changed recipe. The job says the same, and writes nothing."""
    assert old in recipe.read_text()
    recipe.write_text(recipe.read_text().replace(old, new))
    assert invoke(["run", str(recipe), "--validate"]) == code
    said = " ".join(capfd.readouterr().err.split())
    out = recipe.parent / "out"
    assert invoke(["run", str(recipe), "--out", str(out), "--quiet"]) == code
    assert " ".join(capfd.readouterr().err.split()) == said
    assert not out.exists()
    return said


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ('["gptq-w4-g128"]', '["gptq4"]', "quantize.rivals: rival must be one of "),
        ('["gptq-w4-g128"]', '["gptq-w4-g1"]', "quantize.rivals: "),
        ('["gptq-w4-g128"]', '["awq"]', "not 'awq'"),
        ('["edge_lpddr5x"]', '["edge"]', "hardware.targets: target must be one of "),
        ('["edge_lpddr5x"]', '["h200"]', "hardware.targets: "),
        ('["edge_lpddr5x"]', '["edge_lpddr5x", "edge_lpddr5x"]', "hardware.targets must name each machine once"),
        ("gpus = []", 'gpus = ["edge_lpddr5x"]', "hardware.gpus: "),
        ("prefill_tokens = 16", 'shapes = "llama2"', "workload.shapes: model shape must be one of llama2-7b, "),
        ("sweep = []", 'goals = ["acc"]', "it must be one of perf-opt, bal, acc-opt"),
        ("sweep = []", 'cost = "money"', "it must be time, energy, edp, simulated:TARGET or measured:FILE"),
        ("sweep = []", 'cost = "simulated:edge"', "quantize.cost: target must be one of "),
        ("sweep = []", 'cost = "measured:none.json"', "quantize.cost: none.json must be a file"),
        ("sweep = []", "goals = []", "Expected `array` of length >= 1 - at `$.quantize.goals`"),
    ],
)
def test_a_name_that_nothing_has(
    recipe: Path, capfd: pytest.CaptureFixture[str], old: str, new: str, sentence: str
) -> None:
    assert sentence in refused(recipe, capfd, old, new)


def test_a_text_without_a_window_and_one_without_a_prediction(
    recipe: Path, small_text: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    whole = recipe.read_text()
    (tmp_path / "short.txt").write_text("ship")
    said = refused(recipe, capfd, f'calibration = "{small_text}"', f'calibration = "{tmp_path / "short.txt"}"')
    assert "text.calibration must have at least 64 tokens, one window, but has 4; give a longer text" in said
    recipe.write_text(whole)
    (tmp_path / "short.txt").write_text("s")
    said = refused(recipe, capfd, f'evaluation = "{small_text}"', f'evaluation = "{tmp_path / "short.txt"}"')
    assert "text.evaluation must have at least 2 tokens, to predict, but has 1; give a longer text" in said


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda mac: (mac.weights != 0, mac.energy_j), "must hold the weight value 0, which pads tiles"),
        (
            lambda mac: (mac.weights < 999, np.full_like(mac.energy_j, np.nan)),
            "must hold the energy of every weight value, and lacks that of 256, first -128; characterize it without",
        ),
    ],
    ids=["no zero", "no energies"],
)
def test_a_mac_without_a_value_that_is_looked_up(
    recipe: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], change, sentence: str
) -> None:
    mac = find_profile("default")
    keep, energy = change(mac)
    parts = {"delay_s": mac.delay_s, "sensitised_delay_s": mac.sensitised_delay_s, "energy_j": energy}
    poor = replace(mac, name="poor", weights=mac.weights[keep], **{key: part[:, keep] for key, part in parts.items()})
    write_profile(poor, tmp_path / "poor.profile.json")
    said = refused(recipe, capfd, "tile = 32", f'tile = 32\nprofile = "{tmp_path / "poor.profile.json"}"')
    assert f"profile poor {sentence}" in said


def test_explore_makes_the_same_checks_for_every_mac(
    recipe: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    recipe.write_text(recipe.read_text().replace('["edge_lpddr5x"]', '["edge"]'))
    assert invoke(["explore", str(recipe), "--out", str(tmp_path / "out"), "--quiet"]) == 2
    assert "hardware.targets: target must be one of" in capfd.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_recipe_made_in_python_passes_the_checks_of_one_in_toml() -> None:
    wrong = Recipe(quantize=Quantize(goals=("acc",)))  # pyright: ignore[reportArgumentType]
    with pytest.raises(RecipeError, match=r"`\$\.quantize\.goals\[0\]`; it must be one of perf-opt, bal, acc-opt$"):
        haloquant.validate(wrong)


def test_a_package_that_is_not_installed_is_named_with_its_extra_before_any_work(
    recipe: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recipe_checks, "find_spec", lambda name: None if name == "altair" else find_spec(name))
    with pytest.raises(HaloquantError, match=r"^a job needs altair: pip install 'haloquant\[demo\]'$"):
        haloquant.validate(recipe)


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ('["gptq-w4-g128"]', '["rtn-w3", "rtn-w3"]', "quantize.rivals must name each once, not rtn-w3, rtn-w3"),
        ("sweep = []", 'goals = ["bal", "bal"]', "quantize.goals must name each once, not bal, bal"),
        (
            "sweep = []",
            "compensate = false\nrefine = 0.25",
            "quantize.refine must be 0 or left out where quantize.compensate is false, as only tiles whose errors were "
            "compensated are refined, not 0.25",
        ),
        (
            "sweep = []",
            'activations = "none"\nactivation_bits = 4',
            "quantize.activation_bits must be left out where quantize.activations is none, as no activation is "
            "rounded, not 4",
        ),
        (
            "sweep = []",
            "kept_share = 0.9",
            "quantize.kept_share must be left out where quantize.method is haloquant, as only the paper's method keeps "
            "a share of each layer's sensitivity, not 0.9",
        ),
        (
            "sweep = []",
            'method = "paper"\nsparse_budget = 0.01',
            "quantize.sparse_budget must be left out where quantize.method is paper, as the paper rounds to nearest "
            "and keeps all outliers, not 0.01",
        ),
        (
            "gpus = []\n[quantize]",
            "gpus = []\nclocks_ghz = [5.0, 4.0]\n[quantize]\nfast_loss_db = 3.0",
            "quantize.fast_loss_db must be left out where hardware.clocks_ghz is given, as the clocks choose the "
            "words, not 3",
        ),
        (
            "sweep = []",
            "sweep = []\n[quantize.budget]\ntime_s = 1e-3",
            "quantize.budget.time_s must be left out where quantize.cost is time, as only a cost of simulated:TARGET "
            "or measured:FILE gives seconds and joules of the layers, not 0.001",
        ),
        (
            "sweep = []",
            'goals = ["acc-opt"]\n[quantize.budget]\nbits_per_weight = 4.0',
            "quantize.budget.bits_per_weight must be left out where quantize.goals has no bal, as only bal is chosen "
            "within budgets, not 4",
        ),
        (
            "sweep = []",
            'sweep = []\n[quantize.budget]\nlevel = "layer"',
            "quantize.budget.level must be left out where no budget is given, as it says whose classes the budget "
            "chooses, not layer",
        ),
    ],
)
def test_a_value_that_would_be_ignored_is_refused(
    recipe: Path, capfd: pytest.CaptureFixture[str], old: str, new: str, sentence: str
) -> None:
    assert sentence in refused(recipe, capfd, old, new)


@pytest.mark.parametrize(("key", "name"), [("bits_per_weight", "size"), ("time_s", "time"), ("energy_j", "energy")])
def test_a_budget_that_no_words_of_the_mac_meet(
    recipe: Path, capfd: pytest.CaptureFixture[str], key: str, name: str
) -> None:
    new = f'sweep = []\ncost = "simulated:edge_lpddr5x"\n[quantize.budget]\n{key} = 1e-9'
    said = refused(recipe, capfd, "sweep = []", new, code=3)
    assert f"the budget of {name} must be at least " in said
    assert "the least that words of asap7-" in said and "take without a sparse part, not 1e-09" in said


def test_a_layer_that_is_none_in_transformers_is_found_before_any_work(
    recipe: Path, tiny_folder: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(tiny_folder, tmp_path / "model")
    config = json.loads((tiny_folder / "config.json").read_text())
    (tmp_path / "model" / "config.json").write_text(json.dumps(config | {"model_type": "qwen3"}))
    said = refused(recipe, capfd, str(tiny_folder), str(tmp_path / "model"))
    assert "must hold every weight of its model, but lacks 4, first model.layers.0.self_attn.k_norm.weight" in said
