"""Why a tile has its class, and one MAC from its name to its profile, as a person meets them."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np
import pytest

from haloquant.api import explain_attention, explain_tiles
from haloquant.cli.app import invoke
from haloquant.errors import InputError
from haloquant.jobs.compare import job
from haloquant.jobs.explain_tiles import class_letters
from haloquant.recipe import Goal, Hardware, Model, Quantize, Recipe, Text, Workload
from haloquant.store.arrays import load_arrays, save_arrays
from haloquant.store.profiles import read_profile

LAYER = "model.layers.1.mlp.down_proj"


@pytest.fixture(scope="module")
def out(tiny_folder: Path, small_text: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("explain") / "out"
    recipe = Recipe(
        model=Model(str(tiny_folder)),
        text=Text(str(small_text), 256, str(small_text), 128),
        hardware=Hardware(tile=16, targets=("paper_tpu",), gpus=()),
        quantize=Quantize(rivals=(), sweep=(), compensate=False),
        workload=Workload(16, 1, 16),
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(job, "write_report", lambda *_: None)  # drawing takes most of the time, and nothing here reads it
        job.run(recipe, folder)
    return folder


def test_the_classes_follow_from_what_is_shown(out: Path) -> None:
    results = json.loads((out / "results.json").read_text())
    row = next(r for r in results["tiles"] if (r["method"], r["layer"]) == ("halo-bal", LAYER))
    found = explain_tiles(out, LAYER, "halo-bal")
    assert found.letters() == ["".join("FS"[c] for c in line) for line in row["classes"]]
    assert 0 < found.steps_taken < found.steps
    assert found.last_taken_nats_per_s is not None and found.first_left_nats_per_s is not None
    assert found.last_taken_nats_per_s >= found.first_left_nats_per_s > 0
    fast, slow = (1 / clock for _, clock, _ in found.classes)
    for tile in found.tiles:
        # By hand, with two classes: slow where what it saves per added time is at least what the last step saved.
        rate = (tile.loss[0] - tile.loss[1]) / (slow - fast)
        assert tile.chosen == int(rate >= found.last_taken_nats_per_s * (1 - 1e-6))
        assert tile.sensitivity == row["sensitivity"][tile.down][tile.across]
    every = np.concatenate([np.ravel(r["sensitivity"]) for r in results["tiles"] if r["method"] == "halo-bal"])
    assert found.model_tiles == every.size
    assert all(tile.rank > int((every > tile.sensitivity).sum()) for tile in found.tiles)


@pytest.mark.parametrize(("goal", "letter"), [("perf-opt", "F"), ("acc-opt", "S")])
def test_the_ends_are_one_class(out: Path, goal: Goal, letter: str) -> None:
    found = explain_tiles(out, LAYER, f"halo-{goal}")
    none_taken, none_left = found.last_taken_nats_per_s is None, found.first_left_nats_per_s is None
    assert (none_taken, none_left) == (goal == "perf-opt", goal == "acc-opt")
    helped = [mark for tile, mark in zip(found.tiles, "".join(found.letters()), strict=True) if tile.saving]
    assert set(helped) == {letter}


def test_losses_of_another_job_in_the_folder_are_passed_over(out: Path, tmp_path: Path) -> None:
    """As after a job, another with other words, and the first again, which finds its steps: the others are newer."""
    shutil.copytree(out, tmp_path / "out")
    (step,) = (tmp_path / "out" / "steps").glob("tile-losses-*")
    shutil.copytree(step, step.with_name("tile-losses-other"))
    stored = load_arrays(step / "losses.safetensors")
    loss = np.random.default_rng(0).permutation(stored["loss"])
    save_arrays(step.with_name("tile-losses-other") / "losses.safetensors", stored | {"loss": loss})
    for method in ("halo-acc-opt", "halo-bal"):
        assert explain_tiles(tmp_path / "out", LAYER, method) == explain_tiles(out, LAYER, method)


def test_the_command(out: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert invoke(["explain", str(out), "--layer", LAYER, "--rows", "3"]) == 0
    said = " ".join(capfd.readouterr().out.split())
    assert f"{LAYER} in halo-bal: " in said
    assert "This method stops after" in said and "nats/ns" in said
    assert "less sensitive tiles are left out" in said


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["{out}", "--layer", "model.layers.1.mlp.down"], f"such as {LAYER}, "),
        (
            ["{out}", "--layer", LAYER, "--method", "halo-x"],
            "must be one of this run's (halo-perf-opt, halo-bal, halo-",
        ),
        (["/nope", "--layer", LAYER], "/nope must hold results.json of a finished `haloquant run`"),
        (["--layer", LAYER], "--layer must come with the output folder of a finished run, and without --weight"),
        ([], "explain must be given --weight VALUE, or --layer NAME or --attention and the output folder of a run"),
        (["--attention"], "--attention must come with the output folder of a finished run, and without --weight or"),
        (["{out}", "--attention", "--layer", LAYER], "--attention must come with the output folder of a finished run"),
        (["--weight", "8", "--tokens", "5"], "--tokens must be left out with --weight without --liberty"),
        (["{out}", "--attention", "--rows", "3"], "--rows must be left out with --attention, which does not heed it"),
        (["{out}", "--layer", LAYER, "--profile", "x"], "--profile must be left out with --layer, which does not heed"),
        (["--weight", "8", "--liberty", "x", "--profile", "x"], "--profile must be left out with --liberty"),
        (["{out}", "--weight", "8"], "--weight must come without an output folder: it explains a MAC, and not a run"),
    ],
    ids=[
        "layer",
        "method",
        "folder",
        "no folder",
        "nothing",
        "attention of nothing",
        "attention of a layer",
        "tokens of a weight",
        "rows of attention",
        "profile of a layer",
        "profile of a path",
        "weight of a run",
    ],
)
def test_mistakes(out: Path, arguments: list[str], sentence: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert invoke(["explain", *(argument.format(out=out) for argument in arguments)]) == 2
    assert sentence in " ".join(capfd.readouterr().err.split())


def test_attention_of_the_runs_model(out: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Weights on 9 and 16 words change the maps of both blocks a little."""
    found = explain_attention(out, tokens=128, progress=False)
    assert [row.number for row in found] == [1, 2] and all(len(row.cosines) == 4 for row in found)
    assert all(0.5 < row.cosine < 1 and row.spread != row.quantized_spread for row in found)
    assert invoke(["explain", str(out), "--attention", "--tokens", "128"]) == 0
    said = capfd.readouterr().out
    assert f"{found[0].cosine:.4f}" in said and f"{found[1].quantized_spread:.2f}" in said
    least = min(found, key=lambda row: row.cosine).number
    assert f"attention {least} changed most" in said


def test_losses_of_another_run_are_not_taken_for_the_reason(out: Path, tmp_path: Path) -> None:
    (tmp_path / "results.json").write_bytes((out / "results.json").read_bytes())
    with pytest.raises(InputError, match="steps must hold the tile-losses step that led to its results, and holds 0"):
        explain_tiles(tmp_path, LAYER, "halo-bal")
    with pytest.raises(InputError, match=r"^out must be"):
        explain_tiles("", LAYER)
    data = msgspec.json.decode((out / "results.json").read_bytes())
    row = next(r for r in data["tiles"] if (r["method"], r["layer"]) == ("halo-bal", LAYER))
    row["classes"][0][0] = 1 - row["classes"][0][0]
    (tmp_path / "results.json").write_bytes(msgspec.json.encode(data))
    (tmp_path / "steps").symlink_to(out / "steps")
    with pytest.raises(InputError, match="holds 1 of which none does; `haloquant run` into the same folder"):
        explain_tiles(tmp_path, LAYER, "halo-bal")


def test_marks() -> None:
    assert class_letters(["fast", "slow", "steady"]) == ["F", "S", "2"]


@pytest.mark.slow
def test_a_mac_from_its_name_to_its_profile(
    find_data: Callable[[str], Path], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("pyosys", reason="needs Yosys")
    liberty = find_data("liberty/sky130hd/sky130hd_tt_025C_1v80.lib.gz")
    file = tmp_path / "mac.json"
    mac = ["--mac", "sxarray_rcaw4a8-mul", "--liberty", str(liberty)]
    assert invoke(["characterize", *mac, "--static-only", "--out", str(file), "--quiet"]) == 0
    profile = read_profile(file)
    assert profile.weights.tolist() == list(range(-8, 8))
    assert profile.delay_s[0].argmin() == 8  # a weight of 0 moves nothing
    assert profile.provenance["synthesis_script"] == "balance"
    assert "note: the period of 300 ps was what synthesis aimed at and is not met" in " ".join(
        capfd.readouterr().out.split()
    )
    assert invoke(["explain", "--weight", "-7", *mac]) == 0
    said = capfd.readouterr().out
    assert "sxarray_rcaw4a8-mul in " in said and ", weight -7: " in said
    assert invoke(["explain", "--weight", "-7", "--profile", str(file)]) == 0
    said = capfd.readouterr().out
    assert "delay of -7: " in said and "energy: not simulated, the profile holds delays only" in said
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared" / "sizes.vh").write_text("`define SUM 4:0\n")
    (tmp_path / "own.v").write_text(
        '`include "sizes.vh"\nmodule mac (input signed [1:0] weight, input signed [1:0] activation, '
        "input signed [`SUM] partial, output signed [`SUM] result); wire signed [`SUM] product = weight * activation; "
        "add sum (product, partial, result); endmodule"
    )
    (tmp_path / "add.v").write_text(
        "module add (input signed [`SUM] a, input signed [`SUM] b, output signed [`SUM] y); assign y = a + b; endmodule"
    )
    (tmp_path / "own.toml").write_text("weight_bits = 2\nactivation_bits = 2\nresult_bits = 5\n")
    files = ["--rtl", str(tmp_path / "own.v"), "--rtl", str(tmp_path / "add.v"), "-I", str(tmp_path / "shared")]
    own = [*files, "--ports", str(tmp_path / "own.toml"), "--liberty", str(liberty)]
    assert invoke(["explain", "--weight", "-2", *own]) == 0
    assert "own in " in capfd.readouterr().out
    assert invoke(["characterize", *own, "--partial-sums", "gaussian", "--out", str(file), "--quiet"]) == 0
    profile = read_profile(file)
    assert profile.provenance["partial_sums"].startswith("Gaussian model of 128 rows of 2x2 bits")
    assert profile.provenance["adds"] == "a partial sum" and (profile.energy_j > 0).all()


def test_a_bal_that_is_no_knee_over_time_is_not_explained(out: Path, tmp_path: Path) -> None:
    whole = json.loads((out / "results.json").read_text())
    for change, sentence in (
        ({"budget": {"bits_per_weight": 4.0}}, "its classes were chosen within budgets"),
        ({"cost": "simulated:paper_tpu"}, r"its classes were chosen by quantize\.cost = simulated:paper_tpu"),
    ):
        recipe = json.loads(whole["provenance"]["recipe"])
        recipe["quantize"] |= change
        provenance = whole["provenance"] | {"recipe": json.dumps(recipe)}
        (tmp_path / "results.json").write_text(json.dumps(whole | {"provenance": provenance}))
        with pytest.raises(InputError, match=sentence):
            explain_tiles(tmp_path, LAYER, "halo-bal")
