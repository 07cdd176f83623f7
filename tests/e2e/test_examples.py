"""Every script in examples/ runs."""

import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
SMALL = {
    "whole_job.py": None,  # with a small recipe, below
    "what_a_mac_allows.py": [],
    "machine_without_weights.py": ["opt-1.3b", "edge_lpddr5x"],
}


def run(name: str, arguments: list[str]) -> str:
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / name), *arguments], capture_output=True, text=True, timeout=280
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_no_example_is_forgotten() -> None:
    assert {path.name for path in EXAMPLES.glob("*.py")} == set(SMALL)


def test_what_a_mac_allows() -> None:
    assert "1.0x the clock: 256 values" in run("what_a_mac_allows.py", [])


def test_machine_without_weights() -> None:
    lines = run("machine_without_weights.py", ["opt-1.3b", "edge_lpddr5x"]).splitlines()
    assert len(lines) == 10
    assert lines[0].startswith("prefill  FP16")


@pytest.mark.slow
def test_whole_job(tiny_folder: Path, small_text: Path, tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(
        f'[model]\npath = "{tiny_folder}"\n[text]\ncalibration = "{small_text}"\nevaluation = "{small_text}"\n'
        "calibration_tokens = 128\nevaluation_tokens = 128\n"
        '[quantize]\nrivals = []\nsweep = []\ngoals = ["bal"]\n[workload]\nprefill_tokens = 8\n'
    )
    said = run("whole_job.py", [str(recipe), str(tmp_path / "out")])
    assert "halo-bal" in said
    assert (tmp_path / "out" / "report.html").is_file()
