"""`haloquant recover` on a tiny model: what it writes, what it says, and what it refuses."""

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open

from haloquant.cli.app import invoke
from haloquant.lm.export.model_folder import MANIFEST
from haloquant.lm.packed.reader import open_packed, read_layer, verify
from haloquant.quant.layer import dequantize, mac_values
from haloquant.store.atomic_files import read_manifest
from support.tiny_model import save_byte_tokenizer, save_llama, save_tiny

WORDS = "the keeper saw her light upon the water and the ship went out before the morning . " * 12


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("recover")
    save_tiny(folder / "model")
    (folder / "train.txt").write_text(WORDS)
    (folder / "judge.txt").write_text(
        "a man went up the hill in the rain , and nobody knew why he had gone there . " * 4
    )
    made = [
        "quantize",
        str(folder / "model"),
        "-o",
        str(folder / "halo"),
        "--calibration",
        "none",
        "--tile",
        "32",
        "-q",
    ]
    assert invoke(made) == 0
    return folder


def run(place: Path, out: str, *more: str, model: str = "halo", teacher: str = "model", text: str = "train.txt") -> int:
    paths = ["--teacher", str(place / teacher), "--text", str(place / text), "--out", str(place / out)]
    return invoke(["recover", str(place / model), *paths, "-q", "--device", "cpu", *more])


def test_codes_stay_and_the_loss_falls(place: Path, capfd: pytest.CaptureFixture[str]) -> None:
    judge = ["--judge", str(place / "judge.txt"), "--json"]
    assert run(place, "better", "--steps", "30", "--batch", "2", "--learning-rate", "0.01", *judge) == 0
    said = json.loads(capfd.readouterr().out)
    assert said["divergence_after"] < said["divergence_before"] and said["taken_after"] > 0 and not said["notes"]
    assert said["judged"]["windows"] >= 4 and said["judged"]["error"] > 0
    old, new = open_packed(place / "halo"), open_packed(place / "better")
    verify(place / "better")
    moved = 0
    for name in old.config.layers:
        before, after = read_layer(old, name), read_layer(new, name)
        assert before.codes.tobytes() == after.codes.tobytes()
        assert before.tiles.codebook.tobytes() == after.tiles.codebook.tobytes()
        assert mac_values(before).tobytes() == mac_values(after).tobytes()
        moved += int((before.scale != after.scale).sum())
    assert moved > 0 and new.config.bits_per_weight == old.config.bits_per_weight
    made_by = read_manifest(place / "better", MANIFEST).made_by
    assert made_by["recovery text"].startswith("train.txt, sha256 ") and '"steps":30' in made_by["recovery settings"]
    assert made_by.items() >= read_manifest(place / "halo", MANIFEST).made_by.items()


def test_offsets_cost_their_bits_and_say_so(place: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert (
        run(place, "both", "--train", "both", "--steps", "30", "--batch", "2", "--learning-rate", "0.01", "--json") == 0
    )
    said = json.loads(capfd.readouterr().out)
    assert said["divergence_after"] < said["divergence_before"] and said["taken_after"] > 0
    old, new = open_packed(place / "halo"), open_packed(place / "both")
    verify(place / "both")
    layers = [(read_layer(old, name), read_layer(new, name)) for name in old.config.layers]
    assert all(before.codes.tobytes() == after.codes.tobytes() for before, after in layers)
    assert all(after.offset is not None and np.any(after.offset) for _, after in layers)
    more = 16 * sum(q.scale.size for q, _ in layers) / sum(q.codes.size for q, _ in layers)
    assert said["bits_per_weight"] == new.config.bits_per_weight
    assert new.config.bits_per_weight == pytest.approx(old.config.bits_per_weight + more, abs=1e-5)
    assert invoke(["verify", str(place / "both")]) == 0
    export = ["export", str(place / "both"), "--from", str(place / "model"), "-q", "--out"]
    assert invoke([*export, str(place / "plain")]) == 0
    plain = safe_open(place / "plain" / "model.safetensors", "np")
    name = old.config.layers[0]
    np.testing.assert_array_equal(plain.get_tensor(f"{name}.weight"), dequantize(layers[0][1]))
    capfd.readouterr()
    assert invoke([*export, str(place / "int8"), "--to", "compressed-tensors"]) == 2
    assert "must have no offsets to be written as compressed-tensors" in " ".join(capfd.readouterr().err.split())


def test_no_step_is_the_model_itself_and_the_judge_may_not_be_the_training_text(
    place: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run(place, "same", "--steps", "0", "--judge", str(place / "train.txt")) == 0
    assert "the judging text is part of the training text" in " ".join(capfd.readouterr().out.split())
    old, new = open_packed(place / "halo"), open_packed(place / "same")
    assert old.config.sha256 == new.config.sha256  # over every tensor and the configuration


def test_what_is_refused(place: Path, capfd: pytest.CaptureFixture[str]) -> None:
    def said(*more: str, **names: str) -> str:
        assert run(place, "none", *more, **names) == 2
        assert not (place / "none").exists()
        return " ".join(capfd.readouterr().err.split())

    assert "model must be a packed model, and its config.json has no quantization_config; `haloquant quantize`" in said(
        model="model"
    )
    assert "the teacher must be the full-precision model, and" in said(teacher="halo")
    (place / "short.txt").write_text("few words")
    assert "the training text must have at least 128 tokens" in said(text="short.txt")
    save_llama(place / "wider", vocab_size=300, max_position_embeddings=64)
    save_byte_tokenizer(place / "wider")
    assert "the teacher must have the packed model's vocabulary of 257 tokens, not 300" in said(teacher="wider")
    save_tiny(place / "other")
    tokenizer = place / "other" / "tokenizer.json"
    words = json.loads(tokenizer.read_text())
    names = list(words["model"]["vocab"])
    words["model"]["vocab"] = dict(zip(names, np.roll(np.arange(len(names)), 5).tolist(), strict=True))
    tokenizer.write_text(json.dumps(words))
    assert "the teacher must be the model that was packed, with the same tokenizer" in said(teacher="other")
    assert "judge_tokens must come with judge" in said("--judge-tokens", "64")
    (place / "full").mkdir()
    (place / "full" / "thesis.tex").write_text("precious")
    assert run(place, "full") == 2 and "must not exist or be empty" in capfd.readouterr().err
