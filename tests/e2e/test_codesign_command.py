"""`haloquant codesign` on a tiny model: files, recipes that `run` takes, exhaustive search, and refusals."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

import haloquant
from haloquant.cli.app import invoke
from haloquant.errors import InfeasibleError
from haloquant.jobs.codesign import job, library_elements
from haloquant.jobs.codesign.front import not_beaten
from haloquant.lm.calibration import by_block
from haloquant.recipe import read_recipe
from haloquant.store.profiles import find_profile

# Of the 29 elements of asap7, those that differ most: all values, four bits, one digit, alone and in dot products.
ELEMENTS = (
    "asap7-digitsdadda-cs4-abc",
    "asap7-digitsdaddaw4a8-cs4-abc",
    "asap7-onedigitw4a8-cs4-abc",
    "asap7-booth4x16-dot-abc",
    "asap7-e2m1x4-dot-abc",
    "asap7-int4mx8-dot-abc",
    "asap7-onedigitx16-dot-abc",
)


@pytest.fixture(autouse=True, scope="module")
def few_elements() -> Iterator[None]:
    """A search simulates every element that holds a set of words; a few show the same."""

    def only(found: dict[str, Path]) -> dict[str, Path]:
        return {name: file for name, file in found.items() if name in ELEMENTS}

    profiles, dots = library_elements.shipped_profiles(), library_elements.shipped_dot_products()
    assert len(only(profiles)) + len(only(dots)) == len(ELEMENTS)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(library_elements, "shipped_profiles", lambda: only(profiles))
        patch.setattr(library_elements, "shipped_dot_products", lambda: only(dots))
        yield


@pytest.fixture(scope="module")
def calibrations() -> list[object]:
    """The Fisher argument of each calibration in `searched`."""
    return []


@pytest.fixture(scope="module")
def searched(
    tiny_folder: Path, small_text: Path, tmp_path_factory: pytest.TempPathFactory, calibrations: list[object]
) -> Path:
    out, real = tmp_path_factory.mktemp("codesign") / "out", by_block.collect_by_block

    def counted(*arguments, **more):
        calibrations.append(arguments[2])
        return real(*arguments, **more)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(by_block, "collect_by_block", counted)
        code = invoke(
            ["codesign", str(tiny_folder), "--calibration", str(small_text), "--text", str(small_text), "--tile", "32",
             "--area-mm2", "0.4", "--max-loss", "5", "--evaluate", "3", "--prefill", "64", "--context", "64", "-q",
             "--supply", "1", "--supply", "0.8",
             "--out", str(out)]
        )  # fmt: skip
    assert code == 0
    return out


def test_all_sets_and_the_reference_share_one_calibration(searched: Path, calibrations: list[object]) -> None:
    assert calibrations == ["block"]
    assert not list((searched / "steps").glob("statistics-*"))


def test_files_of_the_front(searched: Path) -> None:
    found = json.loads((searched / "codesign.json").read_text())
    assert len(found["evaluated"]) == 3 and found["front"] and len(found["reference"]) == 2
    assert "<svg" in (searched / "codesign.svg").read_text()[:400] and (searched / "codesign.html").is_file()
    for row in found["front"]:
        assert 0 < row["divergence_nats"] < row["loss_nats"] + 1
        assert row["loss_nats"] <= 5 and row["array_area_mm2"] <= 0.4
        recipe, profile = read_recipe(Path(row["recipe"])), find_profile(row["profile"])
        assert profile.weights.tolist() == row["words"] and recipe.hardware.tile == row["tile"] == 32
        assert profile.corners[0].voltage_v == pytest.approx(row["supply_v"]) and row["supply_share"] in (0.8, 1)
        assert recipe.hardware.profile == row["profile"] and recipe.quantize.slow_words == len(row["words"])
    assert min(row["supply_share"] for row in found["front"]) < 1
    for phase in ("prefill", "decode"):
        there = [row for row in found["front"] if row["phase"] == phase]
        costs = lambda row: (row["divergence_nats"], -row["tokens_per_s_mm2"], row["token_j"])  # noqa: E731
        assert not_beaten(there, costs) == there


def test_run_takes_a_design_and_reaches_its_loss(searched: Path, tmp_path: Path) -> None:
    found = json.loads((searched / "codesign.json").read_text())
    row = found["front"][0]
    done = haloquant.run(row["recipe"], tmp_path / "out", progress=False)
    assert done.results.method("halo-acc-opt").perplexity_a8 == pytest.approx(row["perplexity"], rel=1e-6)


def test_what_does_not_fit_is_listed_and_the_rest_is_searched(
    tiny_folder: Path, small_text: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The least area of all holds elements for words of one digit, and none for INT4: there is no reference cost."""
    arguments = ["codesign", str(tiny_folder), "--calibration", str(small_text), "--text", str(small_text), "-q"]
    arguments += [
        "--tile",
        "32",
        "--max-loss",
        "9",
        "--evaluate",
        "1",
        "--prefill",
        "64",
        "--context",
        "64",
        "--supply",
        "1",
    ]
    assert invoke([*arguments, "--out", str(tmp_path / "none"), "--area-mm2", "0.001"]) == 2
    said = capsys.readouterr().err.split()
    area = said[said.index("least") + 1]
    out = tmp_path / "out"
    assert invoke([*arguments, "--out", str(out), "--area-mm2", area]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "left out, because not one column fits" in shown and "asap7-digitsdadda-cs4-abc at tile 32" in shown
    assert "prefill: no design for GPTQ on INT4 fits the area" in shown
    found = json.loads((out / "codesign.json").read_text())
    assert found["reference"] == [] and {row["energy_time_ratio"] for row in found["front"]} == {None}
    left = {each["element"] for each in found["left_out"]}
    assert left and not left & {row["element"] for row in found["front"]}
    assert all(each["least_area_mm2"] > float(area) for each in found["left_out"])
    assert "INT4" in found["words_left_out"]
    assert "left out, because not one column fits" in (out / "codesign.svg").read_text()


def test_a_loss_that_no_design_reaches(
    tiny_folder: Path, small_text: Path, searched: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Losses as measured, and one nat more."""
    real = job.evaluate_choices

    def worse(*arguments):
        found, references, full = real(*arguments)
        return {choice: replace(each, nats=each.nats + 1) for choice, each in found.items()}, references, full

    monkeypatch.setattr(job, "evaluate_choices", worse)
    with pytest.raises(InfeasibleError, match=r"^the loss must be at least .* reaches on this model, not 0.5; allow"):
        haloquant.codesign(
            tiny_folder, searched, calibration=small_text, evaluation=small_text, tiles=[32], area_mm2=0.4,
            max_loss=0.5, evaluate=3, supplies=[1.0], prefill_tokens=64, context_tokens=64, progress=False,
        )  # fmt: skip


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--area-mm2", "0.0001"], "the area must be at least"),
        (["--words", "0,5,200"], "a set of words must be held by one element"),
        (["--supply", "0.5"], "a supply must be a share of the elements' own from 0.6"),
        (["--words", "1,2"], "a set of words must hold 0 and have 2 to 16 words"),
        (["--target", "paper_tpu"], "the machine must be one whose clocks an element sets"),
    ],
)
def test_refusals_in_one_sentence(
    more: list[str], said: str, tiny_folder: Path, small_text: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    arguments = ["codesign", str(tiny_folder), "--calibration", str(small_text), "--text", str(small_text), "-q"]
    arguments += ["--tile", "32", "--evaluate", "1", "--out", str(tmp_path / "out")]
    assert invoke([*arguments, *more]) == 2
    assert said in capfd.readouterr().err
