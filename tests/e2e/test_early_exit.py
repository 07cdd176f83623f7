"""`haloquant early-exit` on a tiny model, plain and packed: what it says, with a deadline, and what it refuses."""

import json
import math
from pathlib import Path

import numpy as np
import pytest

import haloquant
from haloquant.api import early_exit, meet_deadline
from haloquant.cli.app import invoke
from haloquant.errors import InputError
from haloquant.jobs.early_exit.losses import SAME_TEXT
from haloquant.jobs.early_exit.sentences import sentence_lengths
from support.near import near
from support.tiny_model import save_tiny

PROFILE = "sky130hd-digitsdadda_ks+lone-mul-abc"  # measured at six voltages
TEXT = "the keeper saw her light. the ship went out before the morning. nobody knew why she had gone! " * 3
OTHER = "a man went up the hill in the rain, and nobody knew why he had gone there. was he late? no. " * 3


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("exit")
    save_tiny(folder / "model")
    (folder / "judge.txt").write_text(TEXT)
    (folder / "table.txt").write_text(OTHER)
    made = ["quantize", str(folder / "model"), "-o", str(folder / "halo"), "--profile", PROFILE]
    assert invoke([*made, "--calibration", "none", "-q"]) == 0
    return folder


def run(place: Path, *more: str, model: str = "model") -> int:
    texts = ["--text", str(place / "judge.txt"), "--calibration", str(place / "table.txt")]
    return invoke(["early-exit", str(place / model), *texts, "-q", "--device", "cpu", *more])


def test_losses_after_each_block_and_with_early_exit(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = early_exit(
        place / "model", place / "judge.txt", entropy=9.0, calibration=place / "table.txt", device="cpu", progress=False
    )
    middle = f"{first.blocks[0].entropy:.6f}"  # some tokens are surer after the first block, others are not
    assert run(place, "--entropy", "1e-6", "--entropy", middle, "--entropy", "9", "--json") == 0
    said = json.loads(capsys.readouterr().out)
    score = haloquant.evaluate(place / "model", place / "judge.txt", device="cpu", progress=False)
    assert said["blocks"][-1]["loss"] == near(math.log(score.perplexity), rel=1e-6)
    assert [block["block"] for block in said["blocks"]] == [1, 2] and said["blocks"][1]["rise"]["nats"] == 0
    never, some, always = said["thresholds"]
    assert never["exits"] == [0, 1] and never["rise"]["nats"] == near(0, abs=1e-6) and never["predicted_blocks"] == 2
    assert 0 < some["exits"][0] < 1 and some["mean_blocks"] == near(2 - some["exits"][0]) and some["covered"] == 1.0
    # of two blocks the first entropy decides, so prediction and test agree, and nothing is copied before it
    assert some["predicted_rise"] == some["tested_rise"] == near(some["rise"], rel=1e-4)
    assert always["exits"] == [1, 0] and always["rise"] == near(said["blocks"][0]["rise"]) and always["covered"] is None
    assert some["deadline"] is None and said["period_s"] is None and not said["notes"]


def test_sentences_under_a_deadline(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    limit = ["--entropy", "9", "--ms", "1", "--profile", PROFILE, "--context", "32", "--idle", "0.1"]
    assert run(place, *limit, "--json", model="halo") == 0
    said = json.loads(capsys.readouterr().out)
    rows = {row["way"]: row for row in said["thresholds"][0]["deadline"]}
    (alone,) = meet_deadline(
        place / "halo", period_s=1e-3, profile=PROFILE, idle_w=0.1, context_tokens=32, progress=False
    ).rows
    full, cheapest = rows["all blocks, full clock"], rows["all blocks, least energy in time"]
    # `haloquant deadline` says the same of the pass of one token
    assert full["token_j"] == near(alone.race_to_idle.energy_j)
    assert cheapest["token_j"] == near(alone.least_energy.energy_j)
    assert said["whole_step_s"] == near(alone.race_to_idle.simulation.time_s)
    assert said["sentences"] > 3 and full["median_j"] > full["token_j"] and not full["late_sentences"]
    assert rows["leave as predicted, full clock"]["median_s"] < full["median_s"]  # all leave after the first block
    assert said["notes"][-1].startswith("delay at a lower supply, measured: fitted to 6 voltages")
    assert run(place, *limit, model="halo") == 0
    assert f"{said['sentences']} sentences on edge_lpddr5x, 1 ms per token" in capsys.readouterr().out


def test_sentences_end_with_a_mark_or_their_window(place: Path) -> None:
    """The tokenizer gives a token a byte: 64 of them hold "…light." and "…morning." and the rest of a window."""
    windows = np.array([_bytes(place, TEXT[:64]), _bytes(place, TEXT[64:128])])
    lengths = sentence_lengths(str(place / "model"), windows)
    assert sum(lengths) == 2 * 63 and lengths[:2] == [TEXT.index("."), TEXT.index(".", 30) - TEXT.index(".")]


def _bytes(place: Path, text: str) -> list[int]:
    from haloquant.lm.text import tokenize

    return tokenize(place / "model", text).tolist()


def test_the_same_text_for_both_is_said(place: Path) -> None:
    file = place / "judge.txt"
    found = early_exit(place / "model", file, entropy=5.0, calibration=file, tokens=64, device="cpu", progress=False)
    assert SAME_TEXT in found.notes and found.windows == 1 and found.blocks[0].rise.error is None


@pytest.mark.parametrize(
    ("more", "code", "said"),
    [
        (["--entropy", "0"], 2, "entropy must be a threshold above 0 and up to 100 nats, not 0.0"),
        (["--entropy", "nan"], 2, "entropy must be a threshold above 0 and up to 100 nats, not nan"),
        (["--entropy", "1", "--first-block", "2"], 2, "first_block must be below the model's 2 blocks, not 2"),
        (["--entropy", "1", "--ms", "1"], 3, "a V-f curve needs at least 3 voltages of one process and temperature"),
        (["--entropy", "1", "--ms", "1e-6", "--profile", PROFILE], 3, "deadline must be at least"),
        (["--entropy", "1", "--ms", "0", "--profile", PROFILE], 2, "deadline must be above 0 s, not 0 s"),
    ],
)
def test_bad_arguments_are_sentences(
    place: Path, more: list[str], code: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(place, *more) == code
    assert said in " ".join(capsys.readouterr().err.split())


def test_a_model_without_weights_or_a_short_text_is_refused(place: Path) -> None:
    with pytest.raises(InputError, match=r"^the model must be `demo` or a folder"):
        early_exit("llama2-7b", entropy=1.0, progress=False)
    (place / "short.txt").write_text("no window")
    with pytest.raises(InputError, match=r"^a text for early exit must have at least 64 tokens, one window, but short"):
        early_exit(place / "model", place / "short.txt", entropy=1.0, calibration=place / "table.txt", progress=False)
    with pytest.raises(InputError, match=r"^entropy must be at least one threshold in nats, not none$"):
        early_exit("demo", entropy=[])
