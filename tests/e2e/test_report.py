"""The report is looked at in a real browser: no console error, every figure drawn with its data."""

import re
import shutil
import subprocess
from pathlib import Path

import msgspec
import numpy as np
import pytest

pytest.importorskip("vl_convert")

from haloquant.errors import InputError
from haloquant.report import page as report_page
from haloquant.report.charts.labels import place_labels
from haloquant.report.gpu_table import gpu_sentences
from haloquant.report.markdown import render_markdown
from haloquant.report.results import (
    ClassRow,
    CostRow,
    GpuRow,
    MethodRow,
    ParetoRow,
    ProfileRow,
    Results,
    SpanRow,
    SweepRow,
    TileRow,
    decode_results,
    encode_results,
)
from haloquant.report.tables import base_method, cards, headline, method_table
from haloquant.report.warnings import TOO_WIDE, find_warnings
from haloquant.store.profiles import find_profile


def made_gpus() -> list[GpuRow]:
    """One board with its own clock and a faster one that it does not have."""
    return [
        GpuRow("board", method, phase, bits, volt, clock, bits * 2e-6 / speed, bits * 1e-6 * speed, "dram", speed > 1,
               ["register <file>"] if speed > 1 else [], 0.2 if speed > 1 else 0.0)
        for method, bits in (("fp16", 16.0), ("w8a8", 8.02), ("w4a8", 4.13), ("halo-bal", 3.9))
        for phase in ("prefill", "decode")
        for volt, clock, speed in ((0.9, 1.5e9, 1.0), (1.1, 3e9, 2.0))
    ]  # fmt: skip


def made_sweeps() -> list[SweepRow]:
    """Two methods over two figures."""
    return [
        SweepRow(method, "edge_lpddr5x", phase, swept, unit, value * scale, value == 2, time, time * value)
        for method, time in (("w4a8", 2e-5), ("halo-bal", 1e-5))
        for phase in ("prefill", "decode")
        for swept, unit, scale in (("transition", "s", 1e-6), ("static power per array", "W", 1.0))
        for value in (1, 2, 4)
    ]


def made_results() -> Results:
    """A small job with round numbers, so that ratios can be read off by eye."""
    weights = list(range(-128, 128))
    delay = [400e-12 + 100e-12 * bin(w & 255).count("1") / 8 for w in weights]
    energy = [20e-15 + 60e-15 * bin(w & 255).count("1") / 8 for w in weights]
    classes = [
        ClassRow("fast", [-128, -64, -8, -4, 0, 4, 8, 32, 64], 0.7, 2.4e9, 4e-12),
        ClassRow("slow", [-128, -96, -64, -48, -32, -16, -8, 0, 8, 16, 24, 32, 48, 64, 96, 112], 0.7, 2.2e9, 2e-12),
        ClassRow("base", weights, 0.7, 2.0e9, 0.0),
    ]

    def costs(scale: float) -> list[CostRow]:
        return [
            CostRow(
                target,
                phase,
                {"compute": 1e-5 * scale, "dram": 2e-5, "transition": 1e-7},
                {"mac": 1e-6 * scale, "dram": 3e-6, "leakage": 1e-6},
                5,
            )
            for target in ("paper_tpu", "edge_lpddr5x")
            for phase in ("prefill", "decode")
        ]

    methods = [
        MethodRow("fp16", "reference", 16.0, 30.0, None, costs(2.0)),
        MethodRow("w8a8", "rival", 8.02, 30.05, 30.1, costs(1.0)),
        MethodRow("w4a8", "rival", 4.13, 32.0, 32.1, costs(1.0)),
        MethodRow("halo-bal", "halo", 3.9, 31.8, 31.9, costs(0.6), 0.5, ["</script><b>not markup</b>"]),
    ]
    rng = np.random.default_rng(0)
    tiles = [
        TileRow(
            "halo-bal",
            f"model.layers.{i}.mlp.up_proj",
            rng.integers(0, 2, (9, 3)).tolist(),
            rng.random((9, 3)).tolist(),
        )
        for i in range(4)
    ]
    pareto = [ParetoRow(f, 31 + f, 2e-5 - f * 1e-5, 5e-6, "bal" if f == 0.5 else "") for f in (0.0, 0.5, 1.0)]
    spans = [
        SpanRow(i * 1e-6, (i + 1) * 1e-6, i // 2, classes[i % 2].name, 0.7, classes[i % 2].frequency_hz)
        for i in range(8)
    ]
    profile = ProfileRow("asap7 test <b>", "made by hand", "tt 0.70 V", weights, delay, energy, classes)
    return Results(
        1, "demo", 10, 8, "a made text, 100 tokens", 100, profile, methods, tiles, pareto, spans, "halo-bal decode",
        {"seed": "0"}, ["Decode is bound by memory: the clock does not help."],
        made_gpus(), made_sweeps(), "prefill on paper_tpu",
    )  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    results = made_results()
    drawn = report_page.draw_figures(results)
    (folder / "report.html").write_text(report_page.render_page(results, drawn))
    (folder / "names.txt").write_text("\n".join(f.name for f in drawn))
    return folder


def test_ratios_in_the_table_are_against_w8a8() -> None:
    table = method_table(made_results())
    halo = next(row for row in table.rows if row.cells[0] == "halo-bal")
    assert halo.cells[5] == f"{(1e-5 + 2e-5 + 1e-7) / (0.6e-5 + 2e-5 + 1e-7):.2f}×"
    assert halo.cells[6] == f"{(0.6e-6 + 4e-6) / (1e-6 + 4e-6):.2f}"
    assert "| halo-bal | 3.90 | 31.800 | 31.900 | – |" in render_markdown(made_results())


def test_a_job_without_the_balanced_goal_is_presented_by_another_of_its_goals() -> None:
    results = made_results()
    kept = [row for row in results.methods if row.name != "halo-bal"]
    made = msgspec.structs.replace(results, methods=[*kept, *(
        msgspec.structs.replace(row, name="halo-acc-opt") for row in results.methods if row.name == "halo-bal"
    )])  # fmt: skip
    assert headline([row.name for row in made.methods]) == "halo-acc-opt"
    assert cards(made)[0].note.startswith("halo-acc-opt, ")
    with pytest.raises(InputError, match=r"^the results must hold one of halo-bal, .* not only fp16$"):
        headline(["fp16"])


def test_the_clock_warning_stands_beside_the_papers_figure_and_not_beside_itself() -> None:
    results, paper = made_results(), find_profile("paper-22nm")
    fast = paper.delay_s[0].max() / paper.delay_s[0][paper.weights % 32 == 0].max()
    assert f" (the paper's MAC: {fast:.2f}). " in find_warnings(results)[0]
    own = msgspec.structs.replace(results, profile=msgspec.structs.replace(results.profile, name="paper-22nm"))
    assert "the paper's MAC" not in find_warnings(own)[0]


def test_ratios_are_to_w4a8_where_the_mac_cannot_run_w8a8() -> None:
    results = made_results()
    narrow = [
        msgspec.structs.replace(row, costs=[], notes=[TOO_WIDE]) if row.name == "w8a8" else row
        for row in results.methods
    ]
    made = msgspec.structs.replace(results, methods=narrow)
    assert base_method(made).name == "w4a8"
    assert "ratios to W4A8" in render_markdown(made)
    rows = {row.cells[0]: row.cells for row in method_table(made).rows}
    assert rows["w4a8"][5] == "1.00×" and rows["w8a8"][5] == "–"
    assert [card.unit for card in cards(made)[1:]] == ["as fast as w4a8", "of w4a8's"]
    assert f"w8a8: {TOO_WIDE}, so no speed or energy is given." in find_warnings(made)


def test_results_survive_a_round_trip_and_other_versions_are_refused() -> None:
    results = made_results()
    data = encode_results(results)
    assert encode_results(decode_results(data, Path("r.json"))) == data
    with pytest.raises(InputError, match="must be of results version 1, not 2; run `haloquant run` again"):
        decode_results(data.replace(b'"version": 1', b'"version": 2'), Path("r.json"))


def test_page_needs_no_network_and_escapes_names(folder: Path) -> None:
    html = (folder / "report.html").read_text()
    assert not re.search(r'(src|href)="(https?:)?//', html)
    assert "asap7 test &lt;b&gt;" in html


def test_boards_are_said_to_be_modelled_and_what_a_clock_would_ask_is_named() -> None:
    said = gpu_sentences(made_results())
    assert said[0].startswith("Model, not measured: a roofline of products and memory traffic at stored bits.")
    assert f"halo-bal takes {3.9 / 4.13:.2f} of W4A8's time, which is what 3.90 instead of 4.13 stored bits" in said[1]
    assert "prefill at the paper's 3.0 GHz if the whole board followed: 2.00 times as fast at 2.00 times" in said[2]
    assert said[-1].endswith("whose paths no weight shortens: register <file>.")
    assert "| board halo-bal | 3.90 | 3.00 what-if | 3.9 | 7.8 | 3.9 | 7.8 | dram / dram |" in render_markdown(
        made_results()
    )


def test_names_hide_neither_each_other_nor_a_dot() -> None:
    dots = [(100.0, 50.0), (104.0, 52.0), (101.0, 58.0), (390.0, 50.0)]
    names = ["halo-bal", "halo-perf-opt", "gptq-w4-g128", "at the edge"]
    spots = place_labels(names, dots, 400.0, 100.0)
    boxes = [(x, y - 6, x + 5.8 * len(n), y + 6) for n, (x, y) in zip(names, spots, strict=True)]
    for number, (a, b, c, d) in enumerate(boxes):
        assert a >= 0 and c <= 400
        assert not any(a < x < c and b < y < d for x, y in dots)
        for e, f, g, h in boxes[:number]:
            assert min(c, g) <= max(a, e) or min(d, h) <= max(b, f)


@pytest.mark.crosscheck
def test_a_browser_draws_every_figure_without_an_error(folder: Path, tmp_path: Path) -> None:
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("needs Chromium (apt install chromium)")
    run = subprocess.run(
        [
            browser, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
            "--disable-component-update", "--disable-sync", "--disable-quic", f"--user-data-dir={tmp_path}",
            "--enable-logging=stderr", "--virtual-time-budget=20000", "--dump-dom", str(folder / "report.html"),
        ],
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    names = (folder / "names.txt").read_text().split()
    assert f'data-drawn="{len(names)}"' in run.stdout
    assert "CONSOLE" not in run.stderr
    for name in names:
        figure = run.stdout.split(f'id="figure-{name}"')[1].split("</figure>")[0]
        assert figure.count("<path") > 5, f"{name} is empty"
