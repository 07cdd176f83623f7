"""Bad inputs of `haloquant quantize`: each gives its error message and leaves no output folder that looks complete.

Unusual inputs that can be quantized (shared tensors, layers smaller than a tile, an unknown family) are, with a note.
"""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from haloquant.cli.app import invoke
from haloquant.dvfs.classes import choose_classes
from haloquant.errors import InfeasibleError
from haloquant.lm.packed.reader import iterate_layers, open_packed
from haloquant.quant.codebook import gaussian_sample
from haloquant.quant.reference.layer_results import layer_result
from haloquant.store.profiles import find_profile, write_profile

DOWN = "model.layers.1.mlp.down_proj.weight"


@pytest.fixture
def model(tiny_folder: Path, tmp_path: Path) -> Path:
    """A copy of the tiny model, to be damaged."""
    folder = tmp_path / "model"
    folder.mkdir()
    for file in tiny_folder.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    return folder


def quantize(model: Path, out: Path, *more: str) -> int:
    return invoke(["quantize", str(model), "--out", str(out), "--quiet", "--goal", "acc-opt", *more])


def refused(model: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], *more: str) -> str:
    """What is said; there is no output that looks whole, and nothing of a half-written one."""
    out = tmp_path / "out"
    assert quantize(model, out, *more) == 2
    assert not out.exists()
    assert not list(tmp_path.glob(".out*"))
    return " ".join(capfd.readouterr().err.split())


def change(model: Path, edit) -> None:
    tensors = load_file(model / "model.safetensors")
    save_file(edit(tensors), model / "model.safetensors", metadata={"format": "pt"})


def test_a_missing_shard(model: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    names = load_file(model / "model.safetensors")
    index = {"metadata": {}, "weight_map": dict.fromkeys(names, "model-00001-of-00002.safetensors")}
    index["weight_map"][DOWN] = "model-00002-of-00002.safetensors"
    (model / "model.safetensors").rename(model / "model-00001-of-00002.safetensors")
    (model / "model.safetensors.index.json").write_text(json.dumps(index))
    said = refused(model, tmp_path, capfd, "--calibration", "none")
    assert "lacks the shard model-00002-of-00002.safetensors, which model.safetensors.index.json" in said


def test_a_truncated_shard(model: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    file = model / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-1000])
    assert "is cut short: tensor " in refused(model, tmp_path, capfd, "--calibration", "none")


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_weight_that_is_no_number(model: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], bad: float) -> None:
    def edit(tensors: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        tensors[DOWN][3, 5] = bad
        return tensors

    change(model, edit)
    said = refused(model, tmp_path, capfd, "--calibration", "none")
    assert f"{DOWN} must be finite, but holds {bad} at (3, 5)" in said


def test_an_architecture_without_blocks(model: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    change(model, lambda tensors: {name.replace("layers", "steps"): array for name, array in tensors.items()})
    config = json.loads((model / "config.json").read_text()) | {"model_type": "mystery"}
    (model / "config.json").write_text(json.dumps(config))
    said = refused(model, tmp_path, capfd, "--calibration", "none")
    assert "(mystery) must be a decoder with numbered blocks of linear layers" in said
    assert "but no tensor looks like one" in said


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "must hold text, but is empty"),
        ("too short", "the calibration text must have at least 64 tokens, one window, but has 9; give a longer text"),
    ],
)
def test_a_calibration_text_without_a_window(
    model: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], text: str, sentence: str
) -> None:
    (tmp_path / "text.txt").write_text(text)
    assert sentence in refused(model, tmp_path, capfd, "--calibration", str(tmp_path / "text.txt"))


def test_a_profile_without_a_value_beside_0(model: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    whole = find_profile("default")

    def only(keep: np.ndarray):
        parts = {name: getattr(whole, name)[:, keep] for name in ("delay_s", "sensitised_delay_s", "energy_j")}
        return replace(whole, name="poor", weights=whole.weights[keep], **parts)

    write_profile(only(whole.weights == 0), tmp_path / "poor.profile.json")
    more = ("--calibration", "none", "--profile", str(tmp_path / "poor.profile.json"))
    assert "the weights must be two or more in ascending order" in refused(model, tmp_path, capfd, *more)
    write_profile(only(whole.weights > 0), tmp_path / "poor.profile.json")
    assert "profile poor must hold the weight value 0, which pads tiles" in refused(model, tmp_path, capfd, *more)
    sizes = (("fast", 9, 2.5),)
    sentence = "profile poor must hold a weight value other than 0 for the words of classes, and holds none"
    with pytest.raises(InfeasibleError, match=f"^{sentence}$"):
        choose_classes(only(whole.weights == 0), 0, gaussian_sample(), sizes)


@pytest.mark.parametrize(
    ("options", "code", "sentence"),
    [
        (("--goal", "bal", "--bits-budget", "0.1"), 3, "the budget of size must be at least "),
        (
            ("--bits-budget", "9"),
            2,
            "error: budget.bits_per_weight must be left out where the goal is not bal, as only",
        ),
        (("--clock-ghz", "99", "--clock-ghz", "1"), 2, "the clocks of the classes must fall and stay above the "),
        (("--profile", "nangate45-serial-abc", "--cost", "energy"), 2, "must hold the energy of every weight value"),
        (("--profile", "nangate45-serial-abc", "--energy-weight", "0.1"), 2, "must hold the energy of every weight"),
    ],
)
def test_what_the_mac_cannot_do_is_found_before_any_work(
    model: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], options: tuple[str, ...], code: int, sentence: str
) -> None:
    assert quantize(model, tmp_path / "out", "--calibration", "none", *options) == code
    assert sentence in " ".join(capfd.readouterr().err.split())
    assert not list(tmp_path.glob("out*"))


def test_tensors_that_share_bytes_and_layers_smaller_than_a_tile_are_done_and_reported(
    model: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    # The tiny model's embedding and head are tied, and all its layers are smaller than 128 x 128 in one direction.
    assert json.loads((model / "config.json").read_text())["tie_word_embeddings"]
    assert quantize(model, tmp_path / "out", "--calibration", "none") == 0
    # By hand: q and o 64 x 64, k and v 32 x 64 in a tile each; gate and up 172 x 64, down 64 x 172 in two.
    share = 1 - (2 * 64 * 64 + 2 * 32 * 64 + 3 * 172 * 64) / ((4 + 3 * 2) * 128**2)
    said = f"14 of 14 layers do not fill their tiles of 128 x 128: {share:.1%} of the places are padding"
    assert said in " ".join(capfd.readouterr().out.split())
    packed = open_packed(tmp_path / "out")
    assert sum("embed" in name or "lm_head" in name for name in packed.tensors) == 1
    notes = [note for q in iterate_layers(packed) for note in layer_result(q).notes]
    assert len(notes) == 14 and all("tiles are padding" in note for note in notes)
    assert invoke(["verify", str(tmp_path / "out")]) == 0


def test_two_layers_with_the_same_bytes_give_a_model_with_both(
    model: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """One is quantized, the other copied and named: the packed model lacks none and loads."""
    import torch

    from haloquant.lm.packed.loading import load

    file = model / "model.safetensors"
    weight = load_file(file)["model.layers.0.mlp.down_proj.weight"]
    raw = file.read_bytes()
    size = int.from_bytes(raw[:8], "little")
    header = json.loads(raw[8 : 8 + size])
    first, second = (f"model.layers.{block}.mlp.down_proj.weight" for block in (0, 1))
    header[second] = dict(header[first])
    written = json.dumps(header).encode().ljust(size)
    file.write_bytes(len(written).to_bytes(8, "little") + written + raw[8 + size :])
    assert quantize(model, tmp_path / "out", "--calibration", "none") == 0
    said = f"1 left in full precision, shares the bytes of {first}: {second.removesuffix('.weight')}"
    assert said in " ".join(capfd.readouterr().out.split())
    packed = open_packed(tmp_path / "out")
    assert len(packed.config.layers) == 13
    held = dict(load(tmp_path / "out").named_parameters())[second]
    assert torch.equal(held, torch.from_numpy(weight))


def test_a_missing_layer_is_refused_without_calibration_too(
    model: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    change(model, lambda tensors: {name: array for name, array in tensors.items() if name != DOWN})
    said = refused(model, tmp_path, capfd, "--calibration", "none")
    assert "must hold mlp.down_proj.weight in block 1, as in others" in said


def test_an_unknown_family_with_blocks_is_done(model: Path, tmp_path: Path) -> None:
    config = json.loads((model / "config.json").read_text()) | {"model_type": "mystery"}
    (model / "config.json").write_text(json.dumps(config))
    assert quantize(model, tmp_path / "out", "--calibration", "none") == 0
    assert len(open_packed(tmp_path / "out").config.layers) == 14


def test_stacked_experts_of_a_model_that_has_none_are_refused(
    model: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    def edit(tensors: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        for block in range(2):
            weight = tensors.pop(f"model.layers.{block}.mlp.down_proj.weight")
            tensors[f"model.layers.{block}.mlp.experts.down_proj"] = np.stack([weight, weight])
        return tensors

    change(model, edit)
    for more in ((), ("--calibration", "none"), ("--calibration", "none", "--exclude", "experts")):
        said = refused(model, tmp_path, capfd, *more)
        assert "must hold every weight of its model, but lacks 2, first model.layers.0.mlp.down_proj.weight" in said
        assert not (tmp_path / "out.work").exists()


# What is changed in config.json, as if it were that of another model or damaged, and what is said.
OTHER_CONFIGS = {
    "another vocabulary": (
        {"vocab_size": 300, "tie_word_embeddings": False},
        "must hold an embedding of 300 tokens, as config.json says (vocab_size), but its largest table has 257 rows",
    ),
    "too few tokens": ({"vocab_size": 100}, "must give tokens below the model's vocabulary of 100"),
    "another width": ({"hidden_size": 128}, "must be [257, 128], not [257, 64]"),
    "another feed-forward": ({"intermediate_size": 80}, "down_proj.weight must be [64, 80], not [64, 172]"),
    "more blocks": ({"num_hidden_layers": 4}, "must hold 4 decoder blocks, as config.json says"),
    "heads that do not divide the width": (
        {"num_attention_heads": 3}, "model must load as a causal model in transformers, but: Class validation error",
    ),
    "a text for a number": (
        {"rms_norm_eps": "x"}, "model must load as a causal model in transformers, but: Validation error for field",
    ),
    "an unknown type": ({"dtype": "float7"}, "load as a causal model in transformers, but: it knows no dtype 'float7'"),
    "no heads": ({"num_attention_heads": 0}, "config.json must give a positive num_attention_heads, not 0"),
    "a width that no model has": ({"hidden_size": 10**12}, "config.json must be at most 16,777,216, not 1000000000000"),
    "a number that is none": ({"rms_norm_eps": float("nan")}, "config.json must be a finite number, not nan"),
    "an unknown activation": (
        {"hidden_act": "nope"}, "model must load as a causal model in transformers, but: it knows no hidden_act 'nope'",
    ),
    "another family": (
        {"model_type": "opt", "ffn_dim": 172, "word_embed_proj_dim": 64},
        "(OPTForCausalLM) must keep its decoder blocks in a list of modules with linear layers such as "
        "model.layers.0.self_attn.q_proj, but does not; is config.json that of these tensors?",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", OTHER_CONFIGS)
def test_a_configuration_that_is_not_that_of_the_tensors_is_refused_with_its_reason(
    name: str, model: Path, tmp_path: Path, small_text: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    changes, said = OTHER_CONFIGS[name]
    config = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps(config | changes))
    assert said in refused(model, tmp_path, capfd, "--calibration", str(small_text))
    without_text = {"too few tokens": "must be [100, 64], not [257, 64]"}.get(name, said)
    assert without_text in refused(model, tmp_path, capfd, "--calibration", "none")
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
    assert invoke(["quantize", str(model), "--dry-run"]) == 2
    assert without_text in " ".join(capfd.readouterr().err.split())
    if name != "another family":  # then transformers says which weights are missing
        assert invoke(["evaluate", str(model), "--text", str(small_text), "-q"]) == 2
        assert said in " ".join(capfd.readouterr().err.split())
