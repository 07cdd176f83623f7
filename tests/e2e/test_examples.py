"""Every script in examples/ runs, and so does the Python in the documentation."""

import re
import runpy
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "examples"
SMALL = {
    "whole_job.py": None,  # with a small recipe, below
    "quantize_model.py": None,
    "what_a_mac_allows.py": [],
    "machine_without_weights.py": ["opt-1.3b", "edge_lpddr5x"],
}


def run(name: str, arguments: list[str]) -> str:
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / name), *arguments], capture_output=True, text=True, timeout=280
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def run_here(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Callable[[str, list[str]], str]:
    """Runs an example in this process, which has imported torch already."""

    def run(name: str, arguments: list[str]) -> str:
        monkeypatch.setattr(sys, "argv", [name, *arguments])
        runpy.run_path(str(EXAMPLES / name), run_name="__main__")
        return capfd.readouterr().out

    return run


def test_no_example_is_forgotten() -> None:
    assert {path.name for path in EXAMPLES.glob("*.py")} == set(SMALL)


def test_what_a_mac_allows() -> None:
    assert "1.0x the clock: 256 values" in run("what_a_mac_allows.py", [])


def test_machine_without_weights(run_here: Callable[[str, list[str]], str]) -> None:
    lines = run_here("machine_without_weights.py", ["opt-1.3b", "edge_lpddr5x"]).splitlines()
    assert len(lines) == 10
    assert lines[0].startswith("prefill  FP16")


@pytest.mark.slow
def test_whole_job(
    one_block_folder: Path, small_text: Path, tmp_path: Path, run_here: Callable[[str, list[str]], str]
) -> None:
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(
        f'[model]\npath = "{one_block_folder}"\n[text]\ncalibration = "{small_text}"\nevaluation = "{small_text}"\n'
        "calibration_tokens = 128\nevaluation_tokens = 128\n"
        '[hardware]\ntargets = ["edge_lpddr5x"]\ngpus = []\n'
        '[quantize]\nrivals = []\nsweep = []\ngoals = ["bal"]\n[workload]\nprefill_tokens = 8\n'
    )
    said = run_here("whole_job.py", [str(recipe), str(tmp_path / "out")])
    assert "halo-bal" in said
    assert (tmp_path / "out" / "report.html").is_file()


def test_quantize_model(
    tiny_folder: Path, small_text: Path, tmp_path: Path, run_here: Callable[[str, list[str]], str]
) -> None:
    lines = run_here("quantize_model.py", [str(tiny_folder), str(tmp_path / "packed"), str(small_text)]).splitlines()
    assert lines[0].startswith("14 layers at ")
    assert [line.split()[0] for line in lines[1:]] == ["tiny", "packed"]


def test_the_python_of_the_first_page_runs(
    one_block_folder: Path, small_text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In order and in one namespace, as a reader types it, with a tiny model and a short text in place of theirs.

    `run` and `explore` are left out: they take minutes, and `test_whole_job` and test_cli.py run them.
    """
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "start.md").read_text(), re.DOTALL)
    assert len(blocks) == 6
    names: dict[str, object] = {}
    for block in blocks:
        assert len([line for line in block.splitlines() if line.strip()]) <= 5
        code = block.replace("path/to/model", str(one_block_folder)).replace("my-text.txt", str(small_text))
        if "haloquant.run(" not in code:
            exec(compile(code, "docs/start.md", "exec"), names)
    assert (tmp_path / "model-halo" / "config.json").is_file()
    assert type(names["model"]).__name__ == "LlamaForCausalLM"
