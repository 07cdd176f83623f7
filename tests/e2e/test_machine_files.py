"""What the questions about machines write with `--out`: documents, tables, pictures, traces."""

import csv
import json
import math
from itertools import pairwise
from pathlib import Path

import pytest

from haloquant.api import check_claims, meet_deadline, save_results, schedule, simulate, sweep
from haloquant.cli.app import invoke
from haloquant.errors import InputError
from haloquant.store.result_tables import TABLE_VERSION
from haloquant.units import least
from support.draws import daily
from support.near import near
from support.small_job import files_of

PNG = b"\x89PNG\r\n\x1a\n"


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """A shape of one layer in place of a named model: the files are the same, and quick."""
    from haloquant.accel.workload import model_shapes
    from haloquant.jobs.machines import systems

    tiny = model_shapes.ModelShape("opt-1.3b", "opt", 256, 640, 1, 4, 4, 1000)
    monkeypatch.setattr(systems, "named_shape", lambda name: tiny)


ANSWERS = [
    (["claims", "--prefill", "64"], "claims", 24, True),
    (["sweep", "--over", "bandwidth-clock", "--prefill", "64"], "sweep-bandwidth-clock", 50, True),
    (["deadline", "--ms", "10"], "deadline", 17, True),
    (["gpu", "--prefill", "64"], "gpu", 30, False),
    (["elements", "--prefill", "64"], "elements", 10, False),
    (["schedule", "--prefill", "64"], "schedule", 10, True),
    (["sweep", "--over", "transition", "--prefill", "64"], "sweep-transition", 60, True),
    (["sweep", "--over", "static", "--prefill", "64"], "sweep-static", 48, True),
]


@pytest.mark.thinned
@pytest.mark.parametrize(("command", "name", "rows", "chart"), daily(ANSWERS, ANSWERS[:6]))
def test_an_answer_is_written_thrice(
    command: list[str], name: str, rows: int, chart: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert invoke([command[0], "opt-1.3b", *command[1:], "--out", str(out), "--json"]) == 0
    said = capsys.readouterr()
    made = json.loads((out / f"{name}.json").read_text())
    assert made == json.loads(said.out) and f"{name}.csv" in said.err
    assert made["format"] == f"haloquant.{command[0]}" and made["version"] == TABLE_VERSION
    assert made["model"] == "opt-1.3b" and len(made["machine_hash"]) == 64
    table = list(csv.DictReader((out / f"{name}.csv").read_text().splitlines()))
    assert len(table) == len(made["rows"]) == rows
    for line, row in zip(table, made["rows"], strict=True):
        assert line == {key: str(value) for key, value in row.items()}
        assert all(math.isfinite(value) for value in row.values() if isinstance(value, float))
    assert (out / f"{name}.png").exists() == chart
    if chart:
        assert (out / f"{name}.png").read_bytes().startswith(PNG)
    # the same question goes into the same folder again, and another's folder is left alone
    other = tmp_path / "other"
    other.mkdir()
    (other / "letter.txt").write_text("mine")
    assert invoke([command[0], "opt-1.3b", "--out", str(other)]) == 2
    assert "must be empty or one that haloquant made" in capsys.readouterr().err.replace("\n", " ")


def test_a_deadline_says_what_it_assumed_and_the_least_possible(capsys: pytest.CaptureFixture[str]) -> None:
    assert invoke(["deadline", "opt-1.3b", "--ms", "10"]) == 0
    assert "ASSUMED, not measured" in capsys.readouterr().out
    assert invoke(["deadline", "opt-1.3b", "--ms", "0.000001"]) == 3
    assert "deadline must be at least" in (said := capsys.readouterr().err) and "not 1 ns" in said
    several = "sky130hd-digitsdadda_ks+lone-mul-abc"
    assert invoke(["deadline", "opt-1.3b", "--ms", "10", "--profile", several]) == 0
    assert "measured: fitted to 6 voltages of profile" in capsys.readouterr().out


def test_a_simulation_is_written_whole(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    assert invoke(["simulate", "opt-1.3b", "--prefill", "64", "--out", str(out)]) == 0
    shown = capsys.readouterr().out
    documents = json.loads((out / "simulate.json").read_text())
    assert [(d["phase"], d["system"].split()[0]) for d in documents] == [
        (phase, system) for phase in ("prefill", "decode") for system in ("FP16", "W8A8", "W4A8", "W3A8", "HALO")
    ]
    assert "%" in shown and "nan" not in shown
    assert shown.index("Given silicon") < shown.index("New silicon")
    new = json.loads((out / "new-silicon.json").read_text())["rows"]
    assert {(row["phase"], row["system"]) for row in new if row["best"]} >= {
        (phase, system) for phase in ("prefill", "decode") for system in ("FP16", "W8A8", "W4A8", "W3A8", "HALO")
    }
    assert len(list(csv.DictReader((out / "new-silicon.csv").read_text().splitlines()))) == len(new)
    totals = [row for row in csv.DictReader((out / "layers.csv").read_text().splitlines()) if row["layer"] == "total"]
    assert [float(row["total_s"]) for row in totals] == near([d["total_time_s"] for d in documents])
    for name in ("stacked", "roofline-prefill", "roofline-decode"):
        assert (out / f"{name}.png").read_bytes().startswith(PNG)
    for phase in ("prefill", "decode"):
        events = json.loads((out / f"trace-{phase}.json").read_text())["traceEvents"]
        tracks = {e["tid"]: e["args"]["name"] for e in events if e["ph"] == "M" and e["name"] == "thread_name"}
        assert "array 0" in tracks.values() and "DRAM" in tracks.values()
        assert {e["name"].split()[0] for e in events if e["ph"] == "C"} == {"supply", "clock"}
        for track in tracks:
            spans = sorted((e["ts"], e["ts"] + e["dur"]) for e in events if e["ph"] == "X" and e["tid"] == track)
            assert spans and all(a[1] <= b[0] + 1e-9 for a, b in pairwise(spans))


def test_what_does_not_fit_is_listed_with_its_reason(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An area for 4-bit elements alone: no W8A8, so no ratios to it, but a comparison of what is left."""
    out = tmp_path / "out"
    arguments = ["simulate", "opt-1.3b", "--prefill", "64", "--area-mm2", "0.008", "--out", str(out)]
    assert invoke(arguments) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "new silicon leaves W8A8 out: on asap7-digitsdadda-cs4-abc, its smallest element, one column" in shown
    rows = json.loads((out / "new-silicon.json").read_text())["rows"]
    assert {row["system"] for row in rows if row["columns"]} == {"W4A8", "W3A8", "9 words only"}
    left = [row for row in rows if not row["columns"]]
    assert {row["system"] for row in left} == {"FP16", "W8A8", "W4A8", "W3A8", "HALO"}
    assert all(row["least_area_mm2"] > 0.008 and "one column" in row["left_out"] for row in left)
    table = list(csv.DictReader((out / "new-silicon.csv").read_text().splitlines()))
    assert len(table) == len(rows) and [row["time_s"] == "" for row in table] == [
        row["columns"] == "0" for row in table
    ]
    needed = min(row["least_area_mm2"] for row in left if row["system"] == "W8A8")
    assert invoke([*arguments[:-2], "--area-mm2", least(needed), "--json"]) == 0
    again = json.loads(capsys.readouterr().out)[-1]["rows"]
    assert ("W8A8", 1) in {(row["system"], row["columns"]) for row in again}
    assert invoke([*arguments[:-2], "--area-mm2", "0.004"]) == 2
    assert "the area must be at least" in capsys.readouterr().err


def test_a_schedule_is_written_whole(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The fastest policy's order stands in a table, segment after segment, and in a trace of the same length."""
    out = tmp_path / "out"
    asked = ["schedule", "opt-1.3b", "--prefill", "64", "--target", "tpuv4i_like"]
    assert invoke([*asked, "--out", str(out), "--trace", str(tmp_path / "t.json")]) == 0
    assert "* the fastest" in capsys.readouterr().out
    rows = json.loads((out / "schedule.json").read_text())["rows"]
    assert [row["policy"] for row in rows[:5]] == ["serpentine", "panel", "colblock", "islands", "none"]
    for phase in ("prefill", "decode"):
        best = min((row for row in rows if row["phase"] == phase and not row["cannot"]), key=lambda row: row["time_s"])
        order = list(csv.DictReader((out / f"order-{phase}.csv").read_text().splitlines()))
        assert sum(int(row["transitions"]) for row in order) == best["transitions"]
        last = order[-1]
        end = sum(float(last[part]) for part in ("start_s", "transition_s", "fill_s", "busy_s"))
        assert end == near(best["time_s"])
        assert all(float(a["start_s"]) <= float(b["start_s"]) for a, b in pairwise(order))
        events = json.loads((out / f"trace-{phase}.json").read_text())["traceEvents"]
        assert max(e["ts"] + e["dur"] for e in events if e["ph"] == "X") <= best["time_s"] * 1e6 * (1 + 1e-9)
        assert sum(int(row["tiles"]) for row in order) >= 3
    assert (tmp_path / "t.json").read_bytes() == (out / "trace-decode.json").read_bytes()


SAVED = ["simulate", "claims", "deadline", "schedule", "sweep"]


@pytest.mark.thinned
@pytest.mark.parametrize("command", daily(SAVED, SAVED[:4]))
def test_python_saves_the_files_of_the_command(command: str, tmp_path: Path) -> None:
    """The same names and the same bytes. A folder that holds other files is refused."""
    asked = {"simulate": simulate, "claims": check_claims, "sweep": sweep, "deadline": meet_deadline}
    found = asked.get(command, schedule)("opt-1.3b", "edge_lpddr5x", fast_share=0.8, progress=False)
    named = ["--target", "edge_lpddr5x", "--fast", "0.8", "-q"]
    assert invoke([command, "opt-1.3b", *named, "--out", str(tmp_path / "command")]) == 0
    made = save_results(found, tmp_path / "python")
    assert len(made) >= 3 and {file.name for file in made} <= set(files_of(tmp_path / "python"))
    assert files_of(tmp_path / "python") == files_of(tmp_path / "command")
    (tmp_path / "other").mkdir()
    (tmp_path / "other/letter.txt").write_text("mine")
    with pytest.raises(InputError, match="must be empty or one that haloquant made"):
        save_results(found, tmp_path / "other")


def test_a_policy_that_a_machine_cannot_run_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    """Side by side it is a note; alone it is an error."""
    asked = ["schedule", "opt-1.3b", "--prefill", "64", "--target", "edge_lpddr5x"]
    assert invoke(asked) == 0
    said = "islands need at least one array for each of the"
    assert said in " ".join(capsys.readouterr().out.split())
    assert invoke([*asked, "--policy", "islands"]) == 3
    assert said in " ".join(capsys.readouterr().err.split())


def test_a_share_that_is_none_is_refused_by_its_sentence_alone(capsys: pytest.CaptureFixture[str]) -> None:
    assert invoke(["simulate", "opt-1.3b", "--fast", "1.5"]) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert said.endswith("the share of fast tiles must be 0 to 1, not 1.5")
