"""`quantize` says what each stage took beside what was predicted of it, and its files say nothing of that."""

import json
from pathlib import Path

import pytest

from haloquant.cli.app import invoke
from haloquant.jobs.quantize.forecast import machine_rates
from haloquant.jobs.quantize.forecast.machine_rates import Rates
from support.small_job import files_of

RATES = Rates(1e7, 1e8, 1e-6, 1e-10, 1e-10, 1e10, 1e10, 1e9, 1e9, 5e8)
ENDS = ["pack", "copy and check"]
FREE = ["read and hash", "choose codebooks", "measure tiles", "quantize", *ENDS]
CALIBRATED = ["read and hash", "choose codebooks", "calibrate", "measure tiles", "read statistics", "quantize", *ENDS]


@pytest.mark.parametrize(("text", "names"), [("none", FREE), ("a text", CALIBRATED)])
def test_every_stage_that_is_predicted_is_measured_under_the_same_name(
    text: str,
    names: list[str],
    tiny_folder: Path,
    small_text: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(machine_rates, "measure_rates", lambda refined, dtype: RATES)
    asked = ["quantize", str(tiny_folder), "--tile", "32", "--samples", "4", "-q", "--stages"]
    asked += ["--calibration", text if text == "none" else str(small_text)]
    assert invoke([*asked, "--json", "--out", str(tmp_path / "one")]) == 0
    told = json.loads(capfd.readouterr().out)
    assert sorted(stage["stage"] for stage in told["stages"]) == sorted(names)
    assert [stage["name"] for stage in told["predicted"]] == names
    assert sum(stage["seconds"] for stage in told["stages"]) <= told["seconds"]
    assert max(stage["peak_bytes"] for stage in told["stages"]) <= told["peak_bytes"]
    kinds = next(stage["kinds"] for stage in told["stages"] if stage["stage"] == "quantize")
    assert sum(kind["weights"] for kind in kinds.values()) == told["weights"]
    assert invoke([*asked, "--out", str(tmp_path / "two")]) == 0
    shown = capfd.readouterr().out
    assert all(name in shown for name in names)
    assert files_of(tmp_path / "two") == files_of(tmp_path / "one")
