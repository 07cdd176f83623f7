"""`haloquant evaluate --task` on a packed model, offline, with task files and data beside them, judged by our loss."""

import json
import math
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("lm_eval")

import haloquant  # noqa: E402
from haloquant.cli.app import invoke  # noqa: E402
from haloquant.lm.checkpoint.reader import open_checkpoint  # noqa: E402
from haloquant.lm.evaluation.perplexity import perplexity  # noqa: E402
from haloquant.lm.export.dequantized import export_dequantized  # noqa: E402
from haloquant.lm.export.packed import export_packed  # noqa: E402
from haloquant.lm.text import load_tokenizer  # noqa: E402
from support.halo_layers import codebooks  # noqa: E402
from support.tiny_model import quantized  # noqa: E402

pytestmark = pytest.mark.usefixtures("offline")

PAGES = ["the ship went out upon the water and the keeper saw it", "her light was gone before the morning"]
SHARED = "dataset_path: json\ndataset_kwargs: {{data_files: {{test: {data}}}, cache_dir: {cache}}}\ntest_split: test\n"
ROLLING = """task: pages
output_type: loglikelihood_rolling
doc_to_text: ""
doc_to_target: "{{page}}"
metric_list: [{metric: byte_perplexity}, {metric: bits_per_byte}, {metric: word_perplexity}]
"""
CHOICE = """task: next_word
output_type: multiple_choice
doc_to_text: "{{page[:20]}}"
doc_to_choice: ["{{page[20:26]}}", " zqxjkw"]
doc_to_target: 0
metric_list: [{metric: acc}]
"""


@pytest.fixture(scope="module")
def models(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("models")
    checkpoint = open_checkpoint(tiny_folder)
    layers = quantized(checkpoint, codebooks())
    export_packed(checkpoint, layers, folder / "packed", profile_name="booth8", profile_sha256="ab" * 32)
    export_dequantized(checkpoint, layers, folder / "plain", dtype="F32")
    return {name: folder / name for name in ("packed", "plain")}


@pytest.fixture
def tasks(tmp_path: Path) -> Path:
    folder = tmp_path / "tasks"
    folder.mkdir()
    data = folder / "pages.jsonl"
    data.write_text("\n".join(json.dumps({"page": page}) for page in PAGES))
    for name, rules in (("pages", ROLLING), ("next_word", CHOICE)):
        (folder / f"{name}.yaml").write_text(SHARED.format(data=data, cache=tmp_path / "cache") + rules)
    return folder


def scores(model: Path, tasks: Path, capfd: pytest.CaptureFixture[str]) -> Any:
    arguments = ["evaluate", str(model), "--task", "pages", "--task", "next_word", "--task-folder", str(tasks)]
    assert invoke([*arguments, "--quiet"]) == 0
    return json.loads(capfd.readouterr().out)


@pytest.mark.slow
def test_tasks_on_a_packed_model(models: dict[str, Path], tasks: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Its figures are those of our own protocol, each page in one window behind the prefix token; and those of the same
    weights in an ordinary model."""
    found = scores(models["packed"], tasks, capfd)
    model, tokenizer = haloquant.load(models["packed"]).eval(), load_tokenizer(models["packed"])
    nll, size, words = 0.0, 0, 0
    for page in PAGES:
        ids = torch.tensor(tokenizer(page, add_special_tokens=False)["input_ids"]).numpy()
        ours = perplexity(model, ids, window=64, bos=model.config.bos_token_id)  # the tokenizer names none
        assert ours.scored.sum() == len(ids)
        nll, size, words = nll + float(ours.nll.sum()), size + len(page.encode()), words + len(page.split())
    assert found["pages"]["byte_perplexity"] == pytest.approx(math.exp(nll / size), rel=1e-4)
    assert found["pages"]["bits_per_byte"] == pytest.approx(nll / size / math.log(2), rel=1e-4)
    assert found["pages"]["word_perplexity"] == pytest.approx(math.exp(nll / words), rel=1e-3)
    same = scores(models["plain"], tasks, capfd)
    assert same["pages"]["byte_perplexity"] == pytest.approx(found["pages"]["byte_perplexity"], rel=1e-4)
    assert same["next_word"]["acc"] == found["next_word"]["acc"]


@pytest.mark.slow
def test_a_text_is_scored_without_a_task_folder(
    models: dict[str, Path], tasks: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """One document scored as `text` has the figures of the same document in a task file."""
    file = tmp_path / "page.txt"
    file.write_text(PAGES[0])
    (tasks / "pages.jsonl").write_text(json.dumps({"page": PAGES[0]}))
    wanted = scores(models["packed"], tasks, capfd)["pages"]
    command = ["evaluate", str(models["packed"]), "--text", str(file), "--task"]
    assert invoke([*command, "text"]) == 0
    found = json.loads(capfd.readouterr().out)["text"]
    assert found["documents"] == 1
    for name in ("byte_perplexity", "bits_per_byte", "word_perplexity"):
        assert found[name] == pytest.approx(wanted[name], rel=1e-9)
    assert invoke([*command, "wikitext"]) == 2
    assert "must have ' = Title = ' lines that begin its pages" in capfd.readouterr().err
    file.write_text(" = A page = \n\n It cost 1 @,@ 000 . \n")
    assert invoke([*command, "wikitext"]) == 0
    page = json.loads(capfd.readouterr().out)["wikitext"]
    assert page["documents"] == 1 and page["word_perplexity"] > page["byte_perplexity"] > 1


def test_rounded_activations_change_the_score_of_a_task_and_progress_is_shown(
    models: dict[str, Path], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "page.txt"
    file.write_text(PAGES[0])
    command = ["evaluate", str(models["packed"]), "--text", str(file), "--task", "text"]
    found = []
    for more in ([], ["--activations", "token"], ["--activations", "token", "--activation-bits", "4"], ["-q"]):
        assert invoke([*command, *more]) == 0
        said = capfd.readouterr()
        assert ("evaluate text: done" in said.err) == (more != ["-q"])
        found.append(json.loads(said.out)["text"]["byte_perplexity"])
    plain, eight, four, again = found
    assert again == plain != eight
    assert abs(four - plain) > abs(eight - plain)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--task", "text", "--tokens", "64"], "--tokens must come without --task"),
        (["--task", "text", "--by-block"], "--by-block must come without --task"),
        (["--limit", "3"], "--limit must come with --task"),
        (["--task", "text", "--limit", "3"], "limit must come with a task of several documents"),
        (["--task-folder", "tasks"], "--task-folder must come with --task"),
    ],
)
def test_options_that_would_change_nothing_are_refused(
    more: list[str], message: str, capfd: pytest.CaptureFixture[str]
) -> None:
    assert invoke(["evaluate", "demo", *more]) == 2
    assert message in " ".join(capfd.readouterr().err.split())


def test_questions_are_made_from_a_text(
    models: dict[str, Path], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "story.txt"
    file.write_text(" ".join(f"The ship {n} went out upon the water and the keeper saw the ship." for n in range(40)))
    command = ["evaluate", str(models["packed"]), "--text", str(file), "--limit", "3", "--task"]
    assert invoke([*command, "last-word"]) == 0
    found = json.loads(capfd.readouterr().out)["last-word"]
    assert found["documents"] == 3 and found["perplexity"] > 1 and 0 <= found["acc"] <= 1
    assert invoke([*command, "next-passage"]) == 2
    assert "a model for next-passage must have a context of" in capfd.readouterr().err
    file.write_text("Too short.")
    assert invoke([*command, "next-passage"]) == 2
    assert "take a longer text" in capfd.readouterr().err


def test_other_tasks_need_their_folder(models: dict[str, Path], capfd: pytest.CaptureFixture[str]) -> None:
    assert invoke(["evaluate", str(models["packed"]), "--task", "pages", "--quiet"]) == 2
    assert (
        "a task without a task folder must be one of text, wikitext, last-word, next-passage, not 'pages'"
        in capfd.readouterr().err
    )
