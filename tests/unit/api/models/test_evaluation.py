"""Arguments of an evaluation are checked before a model is read."""

import inspect
import re
from pathlib import Path
from typing import Any

import pytest

import haloquant
from haloquant.api.models.evaluation import compare, evaluate, evaluate_tasks
from haloquant.errors import InputError
from haloquant.jobs import evaluation


@pytest.fixture(autouse=True)
def no_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """An evaluation that begins is a failure."""

    def fail(*_: object) -> None:
        raise AssertionError("an evaluation began")

    monkeypatch.setattr(evaluation, "evaluate_model", fail)
    monkeypatch.setattr(evaluation, "evaluate_tasks", fail)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"model": ""}, r"^model must be a name or path as str or Path, not ''$"),
        ({"text": ""}, r"^text must be a name or path as str or Path, not ''$"),
        (
            {"activations": "token", "activation_bits": 1},
            r"^activation_bits must be a whole number from 2 to 16, not 1$",
        ),
        ({"activations": "token", "activation_bits": 17}, r"^activation_bits must be .*, not 17$"),
        ({"activation_bits": 4}, r'^activation_bits must come with activations="token", which rounds them$'),
        ({"tokens": -1}, r"^tokens must be a whole number of at least 0, not -1$"),
    ],
)
def test_wrong_arguments_are_named(arguments: dict[str, Any], sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        evaluate(**({"model": "demo", "progress": False} | arguments))


def test_a_comparison_takes_several_models_and_finds_a_missing_one_first(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"^models must be a sequence of model folders, not the one path 'demo'$"):
        compare("demo", progress=False)
    with pytest.raises(InputError, match="models must be two or more to be compared, not 'demo' alone"):
        compare(["demo"], progress=False)
    with pytest.raises(InputError, match="no-such-model"):
        compare(["demo", tmp_path / "no-such-model"], progress=False)


def test_models_that_read_a_text_as_other_tokens_are_said_not_to_be_comparable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("haloquant.api.models.evaluation.model_folder", Path)

    def score(model: str, *_: object) -> evaluation.Evaluation:
        tokens = {"long": 12}.get(model, 9)
        return evaluation.Evaluation(model, 16.0, 2.0, None, f"{tokens} tokens predicted", notes=("read",))

    monkeypatch.setattr(evaluation, "evaluate_model", score)
    rows = compare(["one", "same", "long"], progress=False)
    assert [row.notes for row in rows[:2]] == [("read",), ("read",)]
    said = (
        "perplexities of long and one are not comparable, as their tokens or windows differ; long: 12 tokens predicted"
    )
    assert rows[2].notes == ("read", said)


def test_one_task_may_be_given_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[object] = []
    monkeypatch.setattr(evaluation, "evaluate_tasks", lambda *arguments: given.extend(arguments) or {})
    assert evaluate_tasks("demo", "tasks", tasks="one", device="cpu") == {}
    assert given[:-1] == ["demo", Path("tasks"), ("one",), "demo", 0, "cpu", None, "float32"]
    given.clear()
    rounded = evaluate_tasks(
        "demo", tasks="text", activations="token", activation_bits=6, dtype="bfloat16", device="cpu"
    )
    assert rounded == {} and given[6:8] == [6, "bfloat16"]
    with pytest.raises(InputError, match=r"^text must come without a folder, whose tasks name their data themselves"):
        evaluate_tasks("demo", "tasks", tasks="one", text="page.txt")
    with pytest.raises(InputError, match=r'^activation_bits must come with activations="token", which rounds them$'):
        evaluate_tasks("demo", tasks="text", activation_bits=6)
    with pytest.raises(InputError, match=r"^folder must be a name or path as str or Path, not ''$"):
        evaluate_tasks("demo", "", tasks="one")


@pytest.mark.parametrize(("error", "printed"), [(0.25, "perplexity 41.500 +- 0.250"), (None, "perplexity 41.500")])
def test_the_example_of_evaluate_prints_a_score_with_and_without_its_error(
    error: float | None, printed: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A text of one window has no standard error."""
    score = evaluation.Evaluation("model-halo", 4.0, 41.5, error, "whole text")
    monkeypatch.setattr(haloquant, "evaluate", lambda model, text: score)
    example = re.search(r"```python\n(.*?)```", inspect.getdoc(evaluate) or "", re.DOTALL)
    assert example is not None
    exec(inspect.cleandoc(example[1]), {})
    assert capsys.readouterr().out == printed + "\n"
