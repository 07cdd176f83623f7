"""`measure`, `platforms` and `transfer` as commands."""

import json
from pathlib import Path

import pytest

pytest.importorskip("torch")

from haloquant.cli.app import invoke
from haloquant.lm.checkpoint.reader import open_checkpoint
from haloquant.lm.export.packed import export_packed
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
    assert invoke(["measure", str(packed), *short, *given]) == 0
    assert "4 W (given)" in capfd.readouterr().out


def test_platforms_are_printed_beside_their_prediction(capfd: pytest.CaptureFixture[str]) -> None:
    assert invoke(["platforms"]) == 0
    said = capfd.readouterr().out
    assert "Llama-3.2-1B" in said and "+9%" in said and "cited" in said


def test_a_transfer_is_printed_by_part(packed: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert invoke(["transfer", str(packed), "--base", str(packed), "--clients", "20", "-q"]) == 0
    said = capfd.readouterr().out
    assert "sparse part" in said and "bits per weight stored" in said
    assert "as changes of the base, by xz:" in said and "to 20 receivers at 20 Mbit/s" in said
