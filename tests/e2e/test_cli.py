"""Every command as a person meets it: what it prints, how it ends, what it leaves."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from haloquant.cli.app import invoke
from haloquant.jobs.compare import job as compare_job

RECIPE = """
[model]
path = "{model}"
[text]
calibration = "{text}"
evaluation = "{text}"
calibration_tokens = 256
evaluation_tokens = 256
[quantize]
rivals = ["gptq-w4-g128"]
sweep = []
[workload]
prefill_tokens = 16
decode_context = 16
"""


@pytest.fixture(scope="module")
def recipe(one_block_folder: Path, small_text: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("recipe") / "recipe.toml"
    file.write_text(RECIPE.format(model=one_block_folder, text=small_text))
    return file


@pytest.fixture(scope="module")
def job(recipe: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("job") / "out"
    assert invoke(["run", str(recipe), "--out", str(out), "--quiet"]) == 0
    return out


def test_run_leaves_report_numbers_and_a_packed_model(job: Path, capfd: pytest.CaptureFixture[str]) -> None:
    results = json.loads((job / "results.json").read_text())
    names = [row["name"] for row in results["methods"]]
    assert names == ["fp16", "w8a8", "w4a8", "gptq-w4-g128", "halo-perf-opt", "halo-bal", "halo-acc-opt"]
    assert all(row["perplexity"] > 1 for row in results["methods"])
    assert "halo-bal" in (job / "results.md").read_text()
    (silicon,) = results["new_silicon"]
    assert {(row["phase"], row["system"]) for row in silicon["rows"]} >= {("prefill", "HALO"), ("decode", "W8A8")}
    assert "## The same area for every system: edge_lpddr5x" in (job / "results.md").read_text()
    assert (job / "report.html").stat().st_size > 100_000
    assert {p.suffix for p in (job / "figures").iterdir()} == {".svg", ".png"}
    assert invoke(["verify", str(job / "model")]) == 0
    assert capfd.readouterr().out.startswith("sound: 7 layers")
    made_for = json.loads((job / "model" / "config.json").read_text())["quantization_config"]["profile_name"]
    assert invoke(["verify", str(job / "model"), "--profile", made_for]) == 0
    assert f"for the MAC {made_for}" in capfd.readouterr().out.replace("\n", " ")
    assert invoke(["verify", str(job / "model"), "--profile", "asap7-boothwdadda_bk-mul-abc"]) == 2
    assert "the model must be made for the profile" in capfd.readouterr().err


def test_the_same_job_again_reuses_every_step_and_gives_the_same_bytes(
    job: Path, recipe: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(compare_job, "write_report", lambda *_: None)  # the next test but one draws it again
    before = (job / "results.json").read_bytes()
    assert invoke(["run", str(recipe), "--out", str(job), "--quiet"]) == 0
    assert "finished steps reused" in capfd.readouterr().out
    assert (job / "results.json").read_bytes() == before


def test_a_fresh_folder_gives_the_same_bytes_and_json_goes_to_stdout_alone(
    job: Path, recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(compare_job, "write_report", lambda *_: None)  # test_crash.py compares reports
    assert invoke(["run", str(recipe), "--out", str(tmp_path / "again"), "--json"]) == 0
    assert json.loads(capfd.readouterr().out)["version"] == 1
    assert (tmp_path / "again" / "results.json").read_bytes() == (job / "results.json").read_bytes()
    for file in (job / "model").iterdir():
        assert (tmp_path / "again" / "model" / file.name).read_bytes() == file.read_bytes(), file.name


def test_report_is_drawn_again(job: Path) -> None:
    (job / "report.html").unlink()
    assert invoke(["report", str(job), "--quiet"]) == 0
    assert (job / "report.html").is_file()


def test_packed_model_is_simulated_compared_and_exported(
    job: Path, one_block_folder: Path, small_text: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    model = str(job / "model")
    assert invoke(["simulate", model, "--prefill", "8", "--context", "8", "--trace", str(tmp_path / "t.json")]) == 0
    assert "HALO (boost)" in capfd.readouterr().out
    assert json.loads((tmp_path / "t.json").read_text())["traceEvents"]
    assert invoke(["schedule", model, "--prefill", "8", "--context", "8", "--json"]) == 0
    assert {row["policy"] for row in json.loads(capfd.readouterr().out)["rows"]} >= {"serpentine", "panel", "none"}
    assert invoke(["export", model, "--from", str(one_block_folder), "--out", str(tmp_path / "plain"), "--quiet"]) == 0
    assert invoke(
        ["compare", model, str(tmp_path / "plain"), "--text", str(small_text), "--tokens", "128", "--json", "--quiet"]
    ) == 0  # fmt: skip
    packed, plain = json.loads(capfd.readouterr().out.split("\n", 1)[1])
    # The plain export has the type of the original, float32, and both are judged in it.
    assert packed["perplexity"] == pytest.approx(plain["perplexity"], rel=1e-5)
    assert packed["dtype"] == plain["dtype"] == "float32" and "computed in float32" in plain["description"]
    assert json.loads((tmp_path / "plain" / "config.json").read_text())["dtype"] == "float32"


def test_explore_marks_a_front(
    one_block_folder: Path, small_text: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "explored"
    swept = tmp_path / "swept.toml"
    recipe = RECIPE.format(model=one_block_folder, text=small_text)
    swept.write_text(recipe.replace("sweep = []", "sweep = [0.3, 0.5, 0.7]"))
    arguments = ["explore", str(swept), "--tile", "32", "--tile", "16", "--out", str(out), "--json", "--quiet"]
    assert invoke(arguments) == 0
    points = json.loads(capfd.readouterr().out)
    assert {p["tile"] for p in points} == {16, 32}
    for target in {p["target"] for p in points}:
        here = [p for p in points if p["target"] == target and p["phase"] == "decode"]
        assert min(here, key=lambda p: p["perplexity"])["best"]
        assert len({p["goal"] for p in here if p["tile"] == 32}) > 3  # three goals, and points of the path
    assert (out / "explore.png").stat().st_size > 10_000


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (["run", "nope.toml"], 2, "nope.toml must be a file; there is none"),
        (["run", "--model", "/nope"], 2, "the model must be `demo` or a folder in Hugging Face format"),
        (["run", "--profile", "fast-one"], 2, "the profile must be a file or one of"),
        (["quantize", "/nope", "--out", "x"], 2, "the model must be `demo` or a folder"),
        (["quantize", "{model}"], 2, "--out must name the folder of the packed model"),
        (
            ["evaluate", "{model}", "--text", "/nope.txt"],
            2,
            "error: a text must be a .txt or .xz file, but /nope.txt does not exist",
        ),
        (
            ["evaluate", "{model}", "--task", "x"],
            2,
            "a task without a task folder must be one of text, wikitext, last-word, next-passage, not 'x'",
        ),
        (["verify", "{model}"], 2, "must"),
        (["simulate", "llama2-8b"], 2, "model shape must be one of"),
        (["simulate", "llama2-7b", "--fast", "2"], 2, "the share of fast tiles must be 0 to 1, not 2"),
        (["simulate", "llama2-7b", "--target", "tpu"], 2, "target must be one of"),
        (["explain", "--weight", "300"], 2, "the weight must be among the 256 of profile"),
        (
            ["characterize", "--mac", "boothx", "--liberty", "x"],
            2,
            "the MAC must be named <rows><tree>_<adder>-<stage>",
        ),
        (["characterize", "--liberty", "/nope.lib"], 2, "/nope.lib"),
        (["characterize", "--rtl", "x.v", "--liberty", "x"], 2, "--rtl and --ports must be given together"),
        (["characterize", "-I", "x", "--liberty", "x"], 2, "--include must come with --rtl"),
        (["report", "/nope"], 2, "/nope must hold results.json of a finished `haloquant run`"),
        (["explore", "--engine", "spark"], 2, "the engine must be local, ray or ray=ADDRESS, not 'spark'"),
        (["export", "/nope", "--from", "{model}", "--out", "x"], 2, "/nope"),
        (["rum"], 2, "Did you mean 'run'?"),
        (["quantize", "{model}", "--gaol", "bal"], 2, "--goal"),
        (["quantize", "{model}", "--goal", "fast", "--out", "x"], 2, "perf-opt"),
    ],
    ids=lambda value: " ".join(value[:3]) if isinstance(value, list) else None,
)
def test_a_mistake_is_answered_by_a_sentence(
    arguments: list[str], code: int, sentence: str, tiny_folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert invoke([argument.format(model=tiny_folder) for argument in arguments]) == code
    said = " ".join(capfd.readouterr().err.replace("│", " ").split())
    assert sentence in said
    assert "Traceback" not in said


def test_recipe_mistakes_carry_their_path(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "r.toml"
    file.write_text("[quantize]\nspare_budget = 0.1\n")
    assert invoke(["run", str(file)]) == 2
    assert "unknown field `spare_budget` - at `$.quantize`" in capfd.readouterr().err


def test_validate_opens_everything_and_does_nothing(recipe: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert invoke(["run", str(recipe), "--out", str(out), "--validate"]) == 0
    assert not out.exists()


def test_output_that_holds_something_else_is_left_alone(recipe: Path, tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("precious")
    assert invoke(["run", str(recipe), "--out", str(tmp_path)]) == 2
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.tex"]


def test_ctrl_c_keeps_what_is_finished(recipe: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    command = [sys.executable, "-m", "haloquant", "run", str(recipe), "--out", str(out)]
    # A test run in the background ignores the signal, and so would its children.
    settings = {
        "preexec_fn": lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        "env": {**os.environ, "COLUMNS": "200"},
    }
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, **settings) as process:
        while not list(out.glob("steps/fp16-*")):
            time.sleep(0.05)
            assert process.poll() is None
        process.send_signal(signal.SIGINT)
        said = process.communicate(timeout=60)[1]
    assert process.returncode == 130, said
    assert "Finished steps are kept" in said
    assert not list(out.glob("steps/.*.tmp"))
