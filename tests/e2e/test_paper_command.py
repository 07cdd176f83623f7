"""`haloquant paper`: the rows on the terminal, the three files, and a page that a browser draws."""

import json
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from haloquant.cli.app import app
from haloquant.errors import InputError
from haloquant.report.paper.markdown import cells
from haloquant.report.paper.rows import PLACES, PaperReport, counts
from haloquant.store.paper_figures import read_statements
from haloquant.store.profiles import FIGURE_4

pytest.importorskip("vl_convert")


@pytest.fixture(scope="module", autouse=True)
def fair_machines_are_simulated_once() -> Iterator[None]:
    """The comparisons on fair machines are most of a report's time, and the same in each."""
    from haloquant.jobs.paper import report

    kept, real = {}, report.fair_comparisons

    def simulated_once(workload: str, tell: Callable[[int, int], None]) -> dict:
        tell(0, 1)
        if workload not in kept:
            kept[workload] = real(workload, tell)
        return kept[workload]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(report, "fair_comparisons", simulated_once)
        yield


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, PaperReport]:
    """The folder of one run, and its report."""
    from haloquant.api import check_paper

    folder = tmp_path_factory.mktemp("paper") / "out"
    return folder, check_paper(folder)


def test_every_figure_and_table_with_numbers_has_rows(made: tuple[Path, PaperReport]) -> None:
    _, report = made
    places = {row.place for row in report.rows}
    assert places == set(PLACES)
    assert {f"figure {number}" for number in (3, 4, 5, 8, 10, 11, 12, 13)} < places
    assert all(row.why for row in report.rows)
    assert counts(report.rows)["follows from its clocks"] > 40
    # Arithmetic, a direction and a unit that was picked are no reproduction; that takes a model.
    assert not any(row.verdict == "reproduced" for row in report.rows)
    for row in (row for row in report.rows if row.place == "abstract"):
        assert (
            row.verdict == "partly"
            and "baseline quantization methods" in row.claim
            and "floating point only" in row.why
        )


def test_fair_machines_tell_the_rivals_apart(made: tuple[Path, PaperReport]) -> None:
    rows = {row.claim: row for row in made[1].rows}
    four = rows["array: w4a8 time over bal time, mean of four models"]
    three = rows["array: w3a8 time over bal time, mean of four models"]
    eight = rows["array: w8a8 time over bal time, llama2-13b"]
    assert three.fair and four.fair and eight.fair and eight.paper
    assert three.fair < 1 < four.fair < eight.fair < eight.paper


def test_the_sparse_engine_takes_less_than_a_hundredth_in_decode_and_not_in_prefill(
    made: tuple[Path, PaperReport],
) -> None:
    rows = {row.claim: row for row in made[1].rows}
    decoded = rows["the sparse engine takes under 1 % of the time, decode"]
    filled = rows["the same, prefill of 2048 tokens"]
    limit = read_statements()["spmv-share"].value
    assert decoded.ours is not None and filled.ours is not None and decoded.paper == filled.paper == limit
    assert 0.003 < decoded.ours < limit < 0.5 < filled.ours < 0.7
    assert "at (1.0 V, 1.9 GHz), the point of least energy that all values meet" in decoded.why
    switches = rows["only a few transitions per inference, llama2-13b"]
    assert "1.00 for each of 161 groups" in switches.why


def test_the_three_files_hold_the_same_rows(made: tuple[Path, PaperReport]) -> None:
    folder, report = made
    stored = json.loads((folder / "paper.json").read_text())
    assert [row["claim"] for row in stored["rows"]] == [row.claim for row in report.rows]
    text, page = (folder / "paper.md").read_text(), (folder / "paper.html").read_text()
    assert text.count("\n| ") == 1 + len(report.rows)  # one head
    assert page.count("<tr class=") == len(report.rows) and page.count("<svg") == 3
    assert f"{FIGURE_4}, static delay" in page and "paper's MAC, sensitised delay" in page  # beside each other
    assert "http" not in page.replace("http://www.w3.org", "")  # it needs no network


def test_a_browser_draws_the_page(made: tuple[Path, PaperReport], tmp_path: Path) -> None:
    browser = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("chromium is not installed")
    shot = tmp_path / "paper.png"
    command = [browser, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}",
               f"--screenshot={shot}", "--window-size=1400,2000", (made[0] / "paper.html").as_uri()]  # fmt: skip
    subprocess.run(command, check=True, capture_output=True, timeout=120)
    assert shot.read_bytes().startswith(b"\x89PNG") and shot.stat().st_size > 20_000


def test_the_command_prints_one_figure_and_refuses_another() -> None:
    said = CliRunner().invoke(app, ["paper", "--figure", "figure 12", "--quiet"])
    assert said.exit_code == 0, said.output
    assert said.stdout.count("figure 12") == 7 and "figure 8" not in said.stdout
    assert "[" not in said.stdout.partition("All rows")[0]  # colours are no part of the text
    rows = json.loads(CliRunner().invoke(app, ["paper", "--figure", "figure 7", "--quiet", "--json"]).stdout)["rows"]
    assert [(row["place"], row["verdict"]) for row in rows] == [("figure 7", "not judged")]
    refused = CliRunner().invoke(app, ["paper", "--figure", "figure 99", "--quiet"])
    assert isinstance(refused.exception, InputError)
    assert "must be the beginning of one of abstract, method" in str(refused.exception)


def test_the_rows_of_the_page_in_docs_are_those_of_the_report(made: tuple[Path, PaperReport]) -> None:
    page = (Path(__file__).resolve().parents[2] / "docs/paper.md").read_text()
    table = page.partition("<!-- table: paper -->")[2].partition("<!-- end -->")[0]
    shown = [line.strip("| ").split(" | ") for line in table.splitlines() if line.startswith("| ")][1:]
    known = {row[1]: row for row in cells(made[1])}
    assert len(shown) > 25
    for row in shown:  # all but the numbers of fair machines, which change with the machines, and the reasons
        assert [*row[:4], row[5]] == [*known[row[1]][:4], known[row[1]][5]]


def test_a_calibration_that_a_rival_cannot_use_is_refused_before_any_work(
    one_block_folder: Path, tmp_path: Path
) -> None:
    pytest.importorskip("torch")
    from haloquant.api import check_paper

    seen: list[str] = []
    with pytest.raises(InputError, match=r"^table 2 on a model needs all its rivals, and zeroquant-global-w4-g128 must "
                       r"have two windows of calibration text at least, 2 x \d+ tokens, not 1$"):  # fmt: skip
        check_paper(tmp_path / "out", model=one_block_folder, calibration_tokens=2 * 64 - 1,
                    progress=lambda task, *_: seen.append(task))  # fmt: skip
    assert not seen


def test_a_window_beyond_the_model_or_the_text_is_refused_before_any_work(
    one_block_folder: Path, small_text: Path, tmp_path: Path
) -> None:
    pytest.importorskip("torch")
    from haloquant.api import check_paper

    (tmp_path / "short.txt").write_text(small_text.read_text()[:20])
    cases = ((1_000_000, small_text, "the positions of the model, not 1000000$"),
             (32, tmp_path / "short.txt", r"the tokens of short\.txt, not 32$"))  # fmt: skip
    for window, text, said in cases:
        with pytest.raises(InputError, match=rf"^window must be at most \d+, {said}"):
            check_paper(tmp_path / "out", model=one_block_folder, text=[text], window=window, progress=False)


@pytest.mark.seldom
@pytest.mark.slow
def test_a_model_adds_the_rows_of_table_2(one_block_folder: Path, small_text: Path, tmp_path: Path) -> None:
    """A random model says nothing of accuracy; that every row is made, with both counts of bits, is what is tested."""
    pytest.importorskip("torch")
    from haloquant.jobs.inputs import silent
    from haloquant.jobs.paper.judged_model import JudgedModel
    from haloquant.jobs.paper.model_rows import model_rows
    from haloquant.jobs.paper.model_table import GLOBAL, METHODS, RIVALS, VARIANTS, model_table

    other = tmp_path / "other_c4.txt"
    other.write_text(small_text.read_text()[::-1])
    judged = JudgedModel(str(one_block_folder), (str(small_text), str(other)), tmp_path / "steps", 256, 32, 256)
    both = model_table(judged, silent)
    table, second = both[: len(both) // 2], both[len(both) // 2 :]
    assert {row.tokens for row in both} == {256 - 256 // 32}  # a window's first token is not predicted
    assert {row.text for row in table} == {small_text.name} and {row.text for row in second} == {other.name}
    # The same layers on both texts: the same bits, and another perplexity.
    assert [(r.method, r.tile, r.stored_bits) for r in table] == [(r.method, r.tile, r.stored_bits) for r in second]
    assert all(one.perplexity != two.perplexity for one, two in zip(table, second, strict=True))
    assert not [path for path in (tmp_path / "steps" / "steps").iterdir() if path.name.startswith("rtn-w4-model.")]
    names = [(row.method, row.tile) for row in table]
    assert names[: 1 + len(RIVALS)] == [("fp16", 0), *((name, 0) for name in RIVALS)]
    assert set(names[1 + len(RIVALS) :]) == {
        (f"{prefix} {goal}", tile) for prefix in METHODS for goal, tile in VARIANTS
    }
    by_name = dict(zip(names, table, strict=True))
    assert by_name["halo perf-opt", 128].paper_bits == by_name["ours perf-opt", 32].paper_bits == 3.0
    for row in table[1:]:
        assert row.perplexity > 0 and row.stored_bits > row.paper_bits  # scales and sparse weights count
        assert row.error is None or row.error > 0
    assert by_name[GLOBAL, 0].stored_bits == by_name["zeroquant-local-w4a8", 0].stored_bits
    claims = [row.claim for row in model_rows("tiny", both)]
    assert len(claims) == len(set(claims)) == 2 * (len(table) - 1 + 2) + 2  # the knee and the sparse share
    assert all(row.sparse for row in table if row.tile)
    assert model_table(judged, silent) == both
    paper_alone = model_table(replace(judged, texts=judged.texts[:1], methods=("paper",)), silent)
    assert paper_alone == [row for row in table if not row.method.startswith("ours")]
