"""Evaluate a model with EleutherAI's lm-eval, whose protocol differs from that of `perplexity`.

`loglikelihood_rolling` of lm-eval predicts every token of a document once. The first window begins with the model's
prefix token, each later one with the last token before it. Perplexities are per word and per byte of the text, not per
token, so they can be compared between tokenizers. Here it runs offline, on given texts or on a folder of task files.
In rolling tasks the beginning token of the tokenizer is not added a second time; by default lm-eval 0.4.13 adds it
twice there and predicts it. In all other tasks a context begins as the tokenizer begins a text, as by default in
lm-eval: some models lose most of their accuracy without their beginning token.
"""

import json
import re
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

from haloquant.errors import InputError
from haloquant.lm.evaluation.finite_logits import finite_logits
from haloquant.lm.evaluation.lm_eval_model import LocalModel, Tell, prefix_token
from haloquant.lm.evaluation.perplexity import default_window
from haloquant.lm.evaluation.text_tasks import TextTask

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from lm_eval import evaluator
    from lm_eval.tasks import TaskManager

_Document = TypeVar("_Document")
_METRICS = ("word_perplexity", "byte_perplexity", "bits_per_byte")
_TITLE = re.compile(r"^ = [^=].* = $", re.MULTILINE)  # page title; section titles have more equals signs


@dataclass(frozen=True)
class TextScore:
    """Result of lm-eval for a text: perplexity per word and per byte, and bits per byte."""

    task: str
    word_perplexity: float
    byte_perplexity: float
    bits_per_byte: float
    documents: int


def _silent(done: int, total: int) -> None:
    """Tell nobody."""


def evaluate_text(
    model: Any,
    tokenizer: Any,
    documents: Sequence[str],
    task: str = "text",
    window: int | None = None,
    tell: Tell = _silent,
) -> TextScore:
    """Return the perplexity of plain documents by `loglikelihood_rolling` of lm-eval.

    Args:
        model: a causal language model of transformers.
        tokenizer: its tokenizer.
        documents: the texts; each is evaluated on its own.
        task: name of the score.
        window: tokens of context; where None, the model's context length, at most 2048.
        tell: called with the windows that are scored, and all.

    Raises:
        InputError: There is no text.
    """
    return _evaluate_pages(model, tokenizer, documents, {"task": task, "doc_to_target": "{{page}}"}, window, tell)


def evaluate_wikitext(
    model: Any,
    tokenizer: Any,
    text: str,
    *,
    limit: int | None = None,
    window: int | None = None,
    tell: Tell = _silent,
) -> TextScore:
    """Return the perplexity of WikiText by the rules of the `wikitext` task of lm-eval.

    Pages are evaluated one by one and are detokenized; the words of the raw page are counted.

    Args:
        model: a causal language model of transformers.
        tokenizer: its tokenizer.
        text: a split of WikiText-2 raw, with its ` = Title = ` lines.
        limit: greatest number of pages, evenly spread; all where None.
        window: tokens of context; where None, the model's context length, at most 2048.
        tell: called with the windows that are scored, and all.

    Raises:
        InputError: The text has no page.
    """
    from lm_eval.tasks.wikitext.preprocess_wikitext import process_results, wikitext_detokenizer

    rules = {"task": "wikitext", "doc_to_target": wikitext_detokenizer, "process_results": process_results}
    return _evaluate_pages(model, tokenizer, _spread(split_pages(text), limit), rules, window, tell)


def _spread(documents: Sequence[_Document], limit: int | None) -> list[_Document]:
    """Return at most `limit` documents, evenly spread; all where it is None."""
    if limit is None or limit >= len(documents):
        return list(documents)
    return [documents[k * len(documents) // limit] for k in range(limit)]


def split_pages(text: str) -> list[str]:
    """Return the pages of a WikiText split, each from its ` = Title = ` line to the next.

    Raises:
        InputError: There is no such line.
    """
    starts = [match.start() for match in _TITLE.finditer(text)]
    if not starts:
        raise InputError("a WikiText split must have ' = Title = ' lines that begin its pages, but has none")
    return [text[a:b] for a, b in zip(starts, [*starts[1:], len(text)], strict=True)]


def evaluate_tasks(
    model: Any,
    tokenizer: Any,
    folder: Path,
    tasks: Sequence[str],
    limit: int | None = None,
    window: int | None = None,
    tell: Tell = _silent,
) -> Mapping[str, Mapping[str, float]]:
    """Return the metrics of lm-eval tasks that YAML files in `folder` define, by task and metric.

    Task files can name Python functions, which lm-eval runs. So give only a folder that you trust.

    Args:
        model: a causal language model of transformers.
        tokenizer: its tokenizer.
        folder: folder of the task files; their data sets must be local files too.
        tasks: names of tasks in the folder.
        limit: greatest number of documents of each task; all where None.
        window: tokens of context; where None, the model's context length, at most 2048.
        tell: called with the requests that are scored, and all of a kind; not while text is generated.

    Raises:
        InputError: A task is not defined there.
    """
    manager = TaskManager(include_path=str(folder), include_defaults=False)
    known = set(manager.all_tasks)
    for task in tasks:
        if task not in known:
            raise InputError(
                f"a task must be one of those in {folder} ({', '.join(sorted(known)) or 'none'}), not {task!r}"
            )
    found = _run(model, tokenizer, list(tasks), manager, limit, window, tell)
    return {task: _numbers(metrics) for task, metrics in found["results"].items()}


def evaluate_questions(
    model: Any,
    tokenizer: Any,
    task: TextTask,
    limit: int | None = None,
    window: int | None = None,
    tell: Tell = _silent,
) -> Mapping[str, float]:
    """Return the metrics of a task that was made from a text, by name.

    Accuracies come with their standard error, the square root of p (1 - p) / (n - 1), as in lm-eval. `documents` is the
    number of questions.

    Args:
        model: a causal language model of transformers.
        tokenizer: its tokenizer.
        task: the questions and how they are scored (`text_tasks`).
        limit: greatest number of questions, evenly spread; all where None.
        window: tokens of context; where None, the model's context length, at most 2048.
        tell: called with the answers that are scored, and all.

    Raises:
        InputError: An answer has more tokens than the window.
    """
    asked = list(task.documents)
    length = default_window(model) if window is None else window
    answers = {answer for document in asked for answer in document.get("choices", [document.get("word")])}
    most = max(len(tokenizer(f" {answer}", add_special_tokens=False)["input_ids"]) for answer in answers)
    if most > length:
        raise InputError(f"a model for {task.rules['task']} must have a context of {most} tokens, not {length}")
    asked = _spread(asked, limit)
    values = _evaluate_documents(model, tokenizer, asked, task.rules, window, tell)
    for metric in ("acc", "acc_norm"):
        if metric in values:
            spread = values[metric] * (1 - values[metric]) / max(len(asked) - 1, 1)
            values[f"{metric}_stderr"] = spread**0.5
    return values | {"documents": len(asked)}


def _evaluate_pages(
    model: Any,
    tokenizer: Any,
    documents: Sequence[str],
    rules: Mapping[str, Any],
    window: int | None,
    tell: Tell,
) -> TextScore:
    if not any(document.strip() for document in documents):
        raise InputError("an evaluation must have text, not none")
    rolling = {
        "output_type": "loglikelihood_rolling",
        "doc_to_text": "",
        "metric_list": [{"metric": metric} for metric in _METRICS],
        **rules,
    }
    pages = [{"page": document} for document in documents]
    values = _evaluate_documents(model, tokenizer, pages, rolling, window, tell)
    return TextScore(rules["task"], *(values[metric] for metric in _METRICS), documents=len(documents))


def _evaluate_documents(
    model: Any,
    tokenizer: Any,
    documents: Sequence[Mapping[str, Any]],
    rules: Mapping[str, Any],
    window: int | None,
    tell: Tell,
) -> dict[str, float]:
    """Return the metrics of one task, whose documents lm-eval reads from a file of their own."""
    with TemporaryDirectory() as folder:
        data = Path(folder) / "documents.json"
        data.write_text("\n".join(json.dumps(document) for document in documents), encoding="utf-8")
        task = {
            "dataset_path": "json",
            "dataset_kwargs": {"data_files": {"test": str(data)}, "cache_dir": folder},
            "test_split": "test",
            **rules,
        }
        found = _run(model, tokenizer, [task], TaskManager(include_defaults=False), None, window, tell)
    return _numbers(found["results"][rules["task"]])


def _run(
    model: Any,
    tokenizer: Any,
    tasks: list[Any],
    manager: TaskManager,
    limit: int | None,
    window: int | None,
    tell: Tell,
) -> Any:
    stream = sys.stderr

    def told(done: int, total: int) -> None:
        with redirect_stderr(stream):
            tell(done, total)

    length = default_window(model) if window is None else window
    evaluate: Any = evaluator.simple_evaluate
    with (
        finite_logits(model),
        _undescribed(evaluator),
        warnings.catch_warnings(),
        redirect_stderr(StringIO()),
    ):  # lm-eval shows a progress bar for every document
        warnings.simplefilter("ignore")  # internal warnings of the packages datasets and multiprocess
        wrapped = LocalModel(
            pretrained=model,
            tokenizer=tokenizer,
            backend="causal",
            max_length=length,
            batch_size=1,
            device=str(next(model.parameters()).device),
            prefix_token_id=prefix_token(model, tokenizer),
        )
        wrapped.tell = told
        return evaluate(
            wrapped,
            tasks=tasks,
            task_manager=manager,
            limit=limit,
            bootstrap_iters=0,
            log_samples=False,
            verbosity="ERROR",
        )


@contextmanager
def _undescribed(harness: Any) -> Iterator[None]:
    """Keep lm-eval from describing the machine in its results: a dozen programs run for it, which takes a second."""
    describe = getattr(harness, "add_env_info", None)
    if describe is None:
        yield
        return
    harness.add_env_info = lambda _: None
    try:
        yield
    finally:
        harness.add_env_info = describe


def _numbers(metrics: Mapping[str, Any]) -> dict[str, float]:
    """Return the metrics by name. lm-eval names a metric `word_perplexity,none`, with its filter after the comma."""
    return {
        name.split(",")[0]: float(value)
        for name, value in metrics.items()
        if isinstance(value, int | float) and "stderr" not in name
    }
