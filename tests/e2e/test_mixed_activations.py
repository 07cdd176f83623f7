"""Mixed activations from the command to generated tokens: packed, saved, evaluated, simulated, compared, refused."""

import copy
import json
import re
from pathlib import Path

import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

import torch

import haloquant
from haloquant.cli.app import invoke
from haloquant.errors import FormatError, InputError, RecipeError
from haloquant.jobs.compare import job, results
from haloquant.lm.attention.token_importance import TokenClasses
from haloquant.lm.checkpoint.model_config import read_config
from haloquant.lm.evaluation.rounded_activations import activations_by_class
from haloquant.lm.packed.halo_linear import HaloLinear
from haloquant.lm.packed.reader import open_packed
from haloquant.recipe import read_recipe
from support.model_families import TEXT, save_model, tiny_config
from support.recipe_keys import with_value
from support.small_job import save_recipe, save_recipe_of_one_goal
from support.tiny_model import save_tiny

pytestmark = pytest.mark.timeout(600)
TOKENS = torch.arange(40).view(2, 20) * 7 % 250 + 2
SHARES = {"none": "0.0", "half": "0.5", "all": "1.0"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of two blocks: the second one's queries, keys and values get inputs of both classes."""
    return save_tiny(tmp_path_factory.mktemp("model") / "tiny")


@pytest.fixture(scope="module")
def models(folder: Path, small_text: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The same model packed without thresholds, and with half of the tokens, and with all of them, in low bits."""
    home = tmp_path_factory.mktemp("mixed")
    command = ["quantize", str(folder), "--calibration", str(small_text), "--samples", "2", "--tile", "32", "-q"]
    for name, share in SHARES.items():
        extra = [] if name == "none" else ["--low-share", share, "--low-bits", "3"]
        assert invoke([*command, "--out", str(home / name), *extra]) == 0
    return {found.name: found for found in home.iterdir()}


def _logits(model, tokens: torch.Tensor = TOKENS, **settings) -> torch.Tensor:
    with torch.inference_mode():
        return model(input_ids=tokens, **settings).logits


def test_the_packed_model_holds_thresholds_beside_the_same_weights(models: dict[str, Path]) -> None:
    plain, mixed = open_packed(models["none"]), open_packed(models["half"])
    assert (plain.config.version, mixed.config.version) == (2, 5)
    found = mixed.config.stored_activations()
    assert found and (found.bits, found.low_bits, found.low_share, len(found.thresholds)) == (8, 3, 0.5, 2)
    assert "activations" not in plain.config.as_dict() and plain.config.stored_activations() is None
    assert mixed.config.bits_per_weight > plain.config.bits_per_weight
    haloquant.verify(models["half"])
    assert (models["half"] / "model.safetensors").read_bytes() == (models["none"] / "model.safetensors").read_bytes()


def test_all_tokens_in_low_bits_are_no_longer_int8_and_half_of_them_lie_between(models: dict[str, Path]) -> None:
    exact = _logits(haloquant.load(models["none"]))
    eight = _logits(haloquant.load(models["none"], activations="int8"))
    half, whole = (_logits(haloquant.load(models[name], activations="mixed")) for name in ("half", "all"))
    errors = [float((logits - exact).square().mean()) for logits in (eight, half, whole)]
    assert errors[0] < errors[1] < errors[2]


@pytest.mark.parametrize("count", [1, 20])
def test_integers_give_what_the_evaluation_rounds(count: int, models: dict[str, Path]) -> None:
    """The kernels' products of integer codes against rounded floats and decoded weights, few tokens and many."""
    running, plain = haloquant.load(models["half"], activations="mixed"), haloquant.load(models["half"])
    config = open_packed(models["half"]).config
    mixed = config.stored_activations()
    assert mixed is not None
    found = _logits(running, TOKENS[:, :count])
    with activations_by_class(plain, config.layers, TokenClasses(mixed)):
        torch.testing.assert_close(found, _logits(plain, TOKENS[:, :count]), rtol=1e-3, atol=1e-4)


def test_a_saved_and_a_copied_model_give_the_same_logits(models: dict[str, Path], tmp_path: Path) -> None:
    model = haloquant.load(models["half"], activations="mixed")
    wanted = _logits(model)
    assert torch.equal(_logits(copy.deepcopy(model)), wanted)
    model.save_pretrained(tmp_path / "again")
    assert open_packed(tmp_path / "again").config.activations == open_packed(models["half"]).config.activations
    assert torch.equal(_logits(haloquant.load(tmp_path / "again", activations="mixed")), wanted)
    again = haloquant.load(tmp_path / "again", activations="float")
    assert torch.equal(_logits(again), _logits(haloquant.load(models["none"])))
    assert again.config._attn_implementation == "sdpa"


def test_generated_tokens_are_those_of_the_whole_text(models: dict[str, Path]) -> None:
    """One token after the other through the cache takes the tokens that the model predicts for the text as a whole."""
    model = haloquant.load(models["half"], activations="mixed")
    text = model.generate(TOKENS[:1, :8], max_new_tokens=8, do_sample=False)
    whole = _logits(model, text, use_cache=False)[0].argmax(-1)
    assert whole[7:-1].tolist() == text[0, 8:].tolist()


def test_rounding_passes_gradients_on(models: dict[str, Path]) -> None:
    model = haloquant.load(models["half"], activations="mixed")
    embedded = model.get_input_embeddings()(TOKENS).detach().requires_grad_()
    trained = model(inputs_embeds=embedded, use_cache=False).logits
    torch.testing.assert_close(trained.detach(), _logits(model, use_cache=False), rtol=1e-3, atol=1e-4)
    trained.sum().backward()
    assert embedded.grad is not None and embedded.grad.abs().sum() > 0


def test_compilation_leaves_the_layers_as_they_are(models: dict[str, Path]) -> None:
    model = haloquant.load(models["half"], activations="mixed")
    wanted = _logits(model, use_cache=False)
    model.get_submodule("model.layers.1.mlp").compile(backend="eager")
    torch.testing.assert_close(_logits(model, use_cache=False), wanted, rtol=1e-4, atol=1e-5)


def test_a_layer_outside_its_model_is_refused(models: dict[str, Path]) -> None:
    model = haloquant.load(models["half"], activations="mixed")
    layer = model.get_submodule("model.layers.1.mlp.up_proj")
    assert isinstance(layer, HaloLinear) and "token_classes=True" in repr(layer)
    with pytest.raises(InputError, match=r"^model\.layers\.1\.mlp\.up_proj must run within its whole model"):
        layer(torch.zeros(1, 3, 64))


def test_an_evaluation_takes_the_models_thresholds_or_finds_them(
    folder: Path, models: dict[str, Path], small_text: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = haloquant.evaluate(models["half"], small_text, activations="mixed", progress=False)
    assert own.low_share is not None and 0.2 < own.low_share < 0.6
    assert "50% of the tokens to 3: those with the lowest scores, by the model's thresholds" in own.description
    asked = {"activations": "mixed", "low_share": 0.5, "low_bits": 3, "calibration": small_text, "progress": False}
    found = haloquant.evaluate(models["none"], small_text, **asked)
    assert f"by thresholds from {len(small_text.read_bytes()) // 64 * 64} tokens of text.txt" in found.description
    for choice in ("random", "highest"):
        other = haloquant.evaluate(models["none"], small_text, low_tokens=choice, **asked)
        assert other.perplexity != found.perplexity and choice in other.description
    assert haloquant.evaluate(folder, small_text, progress=False).low_share is None
    # Its format version is above that of masks, and it has none.
    sparse = haloquant.evaluate(models["half"], small_text, input_sparsity=0.5, calibration=small_text, progress=False)
    assert sparse.input_density is not None and sparse.input_density < 0.6
    command = ["evaluate", str(folder), "--text", str(small_text), "--activations", "mixed", "--low-share", "1", "-q"]
    assert invoke([*command, "--calibration", str(small_text), "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    four = haloquant.evaluate(folder, small_text, activations="token", activation_bits=4, progress=False)
    assert (shown["perplexity"], shown["low_share"]) == (four.perplexity, 1.0)
    assert invoke([*command, "--calibration", str(small_text)]) == 0
    assert "100.0% of the tokens in low bits, as the mean over layers" in capsys.readouterr().out


def test_a_simulation_takes_the_models_bits(models: dict[str, Path], tmp_path: Path) -> None:
    text = (Path(haloquant.__file__).parent / "data/targets/edge_lpddr5x.toml").read_text()
    (tmp_path / "small.toml").write_text(re.sub(r"(rows|columns)( *= *(\{ *value *= *)?)128", r"\g<1>\g<2>32", text))
    settings = {"target": tmp_path / "small.toml", "prefill_tokens": 32, "context_tokens": 16, "progress": False}
    plain, mixed = (haloquant.simulate(models[name], **settings) for name in ("none", "half"))
    one, other = plain.simulation("prefill").total, mixed.simulation("prefill").total
    assert other.energy_j["sram"] < one.energy_j["sram"] and other.cycles == one.cycles
    said = "the inputs of the quantized layers have 8 bits, 3 in 50% of the tokens in all integer systems: they save by"
    assert any(note.startswith(said) for note in mixed.notes)
    asked = haloquant.simulate(models["half"], activation_bits=8, **settings)
    assert asked.simulation("prefill").total.energy_j["sram"] == one.energy_j["sram"]


def test_a_whole_job_evaluates_simulates_and_packs_what_quantize_packs(
    folder: Path, small_text: Path, models: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job, "write_report", lambda *_: None)
    monkeypatch.setattr(results, "sweep_rows", lambda *_: [])
    monkeypatch.setattr(results, "new_silicon_results", lambda *_: [])
    recipe = read_recipe(save_recipe_of_one_goal(tmp_path / "recipe.toml", folder, small_text))
    token = haloquant.run(recipe, tmp_path / "token", progress=False).results
    for key, value in {"activations": "mixed", "low_bits": 3}.items():
        recipe = with_value(recipe, f"quantize.{key}", value)
    done = haloquant.run(recipe, tmp_path / "out", progress=False)
    assert done.results.activations == "8/3" and "W+A8/3" in (tmp_path / "out/results.md").read_text()
    for name in ("w8a8", "halo-bal"):
        row, before = done.results.method(name), token.method(name)
        assert any("of the tokens of a layer, as the mean over layers, have inputs of 3 bits" in x for x in row.notes)
        assert row.perplexity == before.perplexity and row.perplexity_a8 != before.perplexity_a8
        assert row.bops is not None and before.bops is not None and row.bops < before.bops
        for new, old in zip(row.costs, before.costs, strict=True):
            assert new.energy_j["sram"] < old.energy_j["sram"] and new.energy_j["mac"] == old.energy_j["mac"]
    for name in ("config.json", "model.safetensors"):
        assert (tmp_path / "out/model" / name).read_bytes() == (models["half"] / name).read_bytes()


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"activations": "mixed"}, r"^low_share must be given for none, which holds no thresholds of tokens$"),
        ({"low_share": 0.5}, r'^low_share must come with activations="mixed"'),
        ({"activations": "token", "low_tokens": "random"}, r'^low_tokens must come with activations="mixed"'),
        ({"activations": "mixed", "low_share": 1.5}, r"^low_share must be 0 to 1, not 1\.5$"),
        ({"activations": "mixed", "low_share": 0.5, "low_bits": 8}, "^low_bits must be below activation_bits, 8, not"),
        ({"activations": "mixed", "low_bits": 3}, "^bits and low_tokens must come with low_share, unless"),
        ({"activations": "mixed", "low_share": 0.5, "by_block": True}, "^by_block must be False where activations are"),
        ({"activations": "mixed", "low_share": 0.5, "input_sparsity": 0.5}, "^input_sparsity must be 0 where activat"),
    ],
)
def test_mistakes_of_an_evaluation(settings, said: str, models: dict[str, Path], small_text: Path) -> None:
    with pytest.raises(InputError, match=said):
        haloquant.evaluate(models["none"], small_text, progress=False, **settings)


def test_mistakes_of_a_packed_model(models: dict[str, Path], small_text: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"^low_share must be left out for half, which holds thresholds of its own"):
        haloquant.evaluate(models["half"], small_text, activations="mixed", low_share=0.5, progress=False)
    with pytest.raises(InputError, match=r"^activations must be float or int8 for .*none, which holds no thresholds"):
        haloquant.load(models["none"], activations="mixed")
    config = read_config(models["half"])
    packed = config["quantization_config"]
    for changed, said in (
        ({"version": 4}, r"^a model with activations must be of format version 5, not 4$"),
        ({"activations": packed["activations"] | {"low_bits": 9}}, r"^activations of a packed model must be of 2 to 8"),
        ({"activations": packed["activations"] | {"thresholds": []}}, r"^activations of a packed model must be of 2"),
        ({"activations": packed["activations"] | {"other": 1}}, r"quantization_config must be what version 5 says"),
    ):
        damaged = tmp_path / str(len(list(tmp_path.iterdir())))
        damaged.mkdir()
        for file in models["half"].iterdir():
            (damaged / file.name).write_bytes(file.read_bytes())
        (damaged / "config.json").write_text(json.dumps(config | {"quantization_config": packed | changed}))
        with pytest.raises(FormatError, match=said):
            open_packed(damaged)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"low_share": 2.0}, "^low_share must be 0 to 1, not 2"),
        ({"low_bits": 3}, "^low_bits must come with low_share, the share of the tokens that have them$"),
        ({"low_share": 0.5, "low_bits": 8}, "^low_bits must be 2 to 7, not 8$"),
        ({"low_share": 0.5, "input_sparsity": 0.5}, "^input_sparsity must be 0 with low_share, not 0.5"),
        ({"low_share": 0.5, "calibration": "none"}, "^low_share must have a calibration text"),
    ],
)
def test_mistakes_of_a_quantization(settings, said: str, folder: Path, small_text: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=said):
        haloquant.quantize(folder, tmp_path / "out", **{"calibration": small_text, "progress": False} | settings)


@pytest.mark.parametrize(
    ("family", "said"),
    [("mixtral", "must have no experts to have tokens scored"), ("bloom", "BloomForCausalLM does not$")],
)
def test_families_whose_tokens_cannot_be_scored_are_refused_before_any_work(
    family: str, said: str, tmp_path: Path
) -> None:
    save_model(tmp_path / "model", tiny_config(family))
    (tmp_path / "text.txt").write_text(TEXT)
    with pytest.raises(InputError, match=said):
        haloquant.quantize(
            tmp_path / "model", tmp_path / "out", low_share=0.5, calibration=tmp_path / "text.txt", samples=1,
            tile=32, progress=False,
        )  # fmt: skip
    recipe = read_recipe(save_recipe(tmp_path / "recipe.toml", tmp_path / "model", tmp_path / "text.txt"))
    recipe = with_value(with_value(recipe, "quantize.rivals", ()), "quantize.activations", "mixed")
    with pytest.raises(InputError, match=rf"^quantize\.activations: .*{said}"):
        haloquant.validate(recipe)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (
            {"low_share": 0.25},
            r"^quantize\.low_share must be left out where quantize\.activations is token, as",
        ),
        (
            {"activations": "mixed", "activation_bits": 4},
            r"^quantize\.low_bits must be below quantize\.activation_b",
        ),
        ({"activations": "mixed", "input_sparsity": 0.5}, r"^quantize\.input_sparsity must be 0 where quantize\.activ"),
    ],
)
def test_recipes_that_do_not_fit_are_refused(values, said: str, folder: Path, small_text: Path, tmp_path: Path) -> None:
    recipe = read_recipe(save_recipe_of_one_goal(tmp_path / "recipe.toml", folder, small_text))
    for key, value in values.items():
        recipe = with_value(recipe, f"quantize.{key}", value)
    with pytest.raises(RecipeError, match=said):
        haloquant.validate(recipe)
