"""`measure`, `measure-ops`, `platforms` and `transfer` as commands."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("torch")

from haloquant.api.models.quantization import quantize
from haloquant.cli.app import invoke
from haloquant.lm.checkpoint.reader import open_checkpoint
from haloquant.lm.export.packed import export_packed
from haloquant.store.platforms import read_operator_table, write_operator_table
from haloquant.store.profiles import find_profile, profile_sha256
from support.halo_layers import codebooks
from support.tiny_model import quantized, save_byte_tokenizer, save_llama


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("packed")
    save_llama(home / "source", num_hidden_layers=1, vocab_size=257)
    save_byte_tokenizer(home / "source")
    checkpoint, profile = open_checkpoint(home / "source"), find_profile("default")
    layers = quantized(checkpoint, codebooks(), tile=128)
    export_packed(checkpoint, layers, home / "halo", profile_name=profile.name, profile_sha256=profile_sha256(profile))
    return home / "halo"


def test_a_measurement_says_what_was_measured_and_what_was_not(packed: Path, capfd: pytest.CaptureFixture[str]) -> None:
    short = ["--tokens", "3", "--repeats", "2", "--pause", "0", "--device", "cpu", "-q"]
    given = ["--watts", "4", "--battery-wh", "1", "--target", "edge_lpddr5x"]
    assert invoke(["measure", str(packed), *short, *given, "--json"]) == 0
    found = json.loads(capfd.readouterr().out)
    assert found["tok_s_least"] <= found["tok_s"] <= found["tok_s_most"]
    assert found["tok_per_j"] == pytest.approx(found["tok_s"] / 4)
    assert found["battery_words"] == pytest.approx(found["tok_per_j"] * 3600 * found["words_per_token"])
    assert found["predicted_tok_s"]["edge_lpddr5x"] > 0
    assert (found["activations"], found["head_bits"]) == ("float", 16)
    assert invoke(["measure", str(packed), *short, *given]) == 0
    assert "4 W (given)" in capfd.readouterr().out


def test_a_measurement_with_integers_and_a_rounded_head(packed: Path, capfd: pytest.CaptureFixture[str]) -> None:
    short = ["--tokens", "3", "--repeats", "1", "--pause", "0", "--device", "cpu", "-q"]
    asked = ["--activations", "int8", "--head-bits", "8"]
    read_b = []
    for options in ([], asked):
        assert invoke(["measure", str(packed), *short, *options, "--json"]) == 0
        found = json.loads(capfd.readouterr().out)
        read_b.append(found["read_b"])
    assert (found["activations"], found["head_bits"]) == ("int8", 8)
    assert read_b[1] < read_b[0]
    source = str(packed.parent / "source")
    for model, options, said in (
        (source, ["--activations", "int8"], "activations must be float for a plain model such as"),
        (source, ["--head-bits", "4"], "head_bits must be 8 or 16, not 4"),
    ):
        assert invoke(["measure", model, *short, *options]) == 2
        assert said in " ".join(capfd.readouterr().err.split())
    text = packed.parent / "text.txt"
    text.write_text("one two three four five six seven. " * 40)
    plain, rounded = [], []
    for bits, notes in (("16", plain), ("8", rounded)):
        given = ["evaluate", source, "--text", str(text), "--head-bits", bits, "--device", "cpu", "-q", "--json"]
        assert invoke(given) == 0
        notes.append(json.loads(capfd.readouterr().out))
    assert plain[0]["perplexity"] != rounded[0]["perplexity"]
    assert (plain[0]["head_bits"], rounded[0]["head_bits"]) == (16, 8)
    assert any("the weights of the head are rounded to 8 bits" in note for note in rounded[0]["notes"])
    assert invoke([*given, "--by-block"]) == 2
    assert "head_bits must be 16 for an evaluation block by block" in " ".join(capfd.readouterr().err.split())
    assert invoke([*given, "--task", "text"]) == 2
    assert "--head-bits must come without --task" in " ".join(capfd.readouterr().err.split())


def test_a_table_of_products_decides_the_classes_of_tiles(
    tiny_folder: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    table = tmp_path / "ops.json"
    short = ["--batch", "1", "--repeats", "2", "--tile", "32", "--device", "cpu", "-q"]
    assert invoke(["measure-ops", str(tiny_folder), "--out", str(table), *short]) == 0
    assert "sixteen" in capfd.readouterr().out
    found = read_operator_table(table)
    assert found.batches == (1,) and all(row.read_b > 0 for row in found.rows)
    # Times of nine words that are a third of those of sixteen stand for a machine that reads fewer bits faster.
    rows = tuple(replace(row, median_s=1e-6 if row.mix == "nine" else 3e-6) for row in found.rows)
    write_operator_table(table, replace(found, rows=rows))
    plain = ["quantize", str(tiny_folder), "--calibration", "none", "--tile", "32", "-q", "--json"]
    layers = len(open_checkpoint(tiny_folder).layers)
    for number, (budget, level) in enumerate([(2e-6 * layers, "tile"), (2e-6 * layers, "layer")]):
        limits = ["--cost", f"measured:{table}", "--time-budget", str(budget), "--budget-level", level]
        assert invoke([*plain, "--out", str(tmp_path / f"out{number}"), *limits]) == 0
        said = json.loads(capfd.readouterr().out)
        note = next(note for note in said["notes"] if note.startswith("bal is chosen"))
        assert f"by {level} within budgets: time" in note and "measured on cpu" in note
        used = float(note.partition("time ")[2].partition(" of")[0])
        assert layers * 1e-6 < used <= budget * (1 + 1e-4)
    short_of = ["--cost", f"measured:{table}", "--time-budget", "1e-6"]
    assert invoke([*plain, "--out", str(tmp_path / "out"), *short_of]) == 3
    assert "the budget of time must be at least 1.4e-05 s" in " ".join(capfd.readouterr().err.split())


def test_a_budget_of_bits_is_what_the_packed_model_has(tiny_folder: Path, tmp_path: Path) -> None:
    limits = {"bits_per_weight": 4.5}
    made = quantize(tiny_folder, tmp_path / "out", calibration="none", tile=32, budget=limits, progress=False)
    note = next(note for note in made.notes if note.startswith("bal is chosen"))
    assert f"size {made.bits_per_weight:.4g} of 4.5 bits per weight" in note and made.bits_per_weight <= 4.5
    assert not any("wrong sum" in note for note in made.notes)  # its clocks rest on static delays


def test_the_risk_of_sensitised_clocks_is_noted(one_block_folder: Path, tmp_path: Path) -> None:
    made = quantize(one_block_folder, tmp_path / "out", calibration="none", delay_basis="sensitised", progress=False)
    (risk,) = (note for note in made.notes if "the array then computes a wrong sum" in note)
    assert "static delays are up to" in risk


def test_platforms_are_printed_beside_their_prediction(capfd: pytest.CaptureFixture[str]) -> None:
    assert invoke(["platforms"]) == 0
    said = capfd.readouterr().out
    assert "Llama-3.2-1B" in said and "+9%" in said and "cited" in said


def test_a_transfer_is_printed_by_part(packed: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert invoke(["transfer", str(packed), "--base", str(packed), "--clients", "20", "-q"]) == 0
    said = capfd.readouterr().out
    assert "sparse part" in said and "bits per weight stored" in said
    assert "as changes of the base, by xz:" in said and "to 20 receivers at 20 Mbit/s" in said
