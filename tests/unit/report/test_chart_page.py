"""A chart's page draws without a network, and the scripts it holds are kept between processes."""

import json
import shutil
import subprocess
from importlib.metadata import version
from pathlib import Path

import pytest

pytest.importorskip("vl_convert")

from haloquant.report import chart_page
from haloquant.report.chart_page import browser_scripts

SPEC = {
    "$schema": "https://vega.github.io/schema/vega-lite/v6.json",
    "title": "</script><!--<script>alert(1)</script>",
    "data": {"values": [{"a": 1, "b": 2}, {"a": 3, "b": 4}]},
    "mark": "point",
    "encoding": {"x": {"field": "a", "type": "quantitative"}, "y": {"field": "b", "type": "quantitative"}},
}


def made(monkeypatch: pytest.MonkeyPatch, text: str) -> list[int]:
    """Let vl-convert give a text, and count how often it is asked."""
    calls: list[int] = []
    monkeypatch.setattr(chart_page.vl_convert, "javascript_bundle", lambda: calls.append(1) or text)
    return calls


def test_scripts_are_made_once_and_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = made(monkeypatch, "let a = '</script>';\nlet b;")
    wanted = "let a = '<\\/script>';\nlet b;"
    assert [browser_scripts(tmp_path / "new") for _ in range(3)] == [wanted] * 3
    assert len(calls) == 1
    (file,) = (tmp_path / "new").iterdir()
    assert version("vl-convert-python") in file.name


@pytest.mark.parametrize("damage", [b"", b"x", b"\xff\xfe", b"// sha256 0\nlet a;"])
def test_a_damaged_file_is_made_again(damage: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = made(monkeypatch, "let a;")
    browser_scripts(tmp_path)
    (file,) = tmp_path.iterdir()
    whole = file.read_bytes()
    file.write_bytes(damage)
    assert browser_scripts(tmp_path) == "let a;" and len(calls) == 2
    assert file.read_bytes() == whole


def test_a_folder_that_cannot_be_written_is_no_obstacle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = made(monkeypatch, "let a;")
    (tmp_path / "file").write_text("in the way")
    assert browser_scripts(tmp_path / "file") == "let a;" == browser_scripts(tmp_path / "file" / "below")
    assert len(calls) == 2 and (tmp_path / "file").read_text() == "in the way"


def test_a_page_holds_the_chart_and_its_scripts() -> None:
    page = chart_page.chart_page(SPEC, "a < b")
    assert "<title>a &lt; b</title>" in page
    assert page.count("</script>") == 2 and "http" not in page.split("<script>")[0]
    asked = page.rsplit('vegaEmbed("#chart", ', 1)[1].rsplit(", {renderer", 1)[0]
    assert json.loads(asked) == SPEC


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("chromium") is None, reason="needs chromium")
def test_a_browser_draws_the_page_without_a_network(tmp_path: Path) -> None:
    (tmp_path / "chart.html").write_text(chart_page.chart_page(SPEC, "points"))
    done = subprocess.run(
        ["chromium", "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}",
         "--host-resolver-rules=MAP * ~NOTFOUND", "--virtual-time-budget=5000", "--dump-dom",
         f"file://{tmp_path / 'chart.html'}"],
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.stdout.count('aria-label="a: ') == 2 and "<svg" in done.stdout, done.stderr[-2000:]
