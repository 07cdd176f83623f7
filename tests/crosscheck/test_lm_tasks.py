"""lm-eval against a plain loop over its rolling windows, offline."""

import math
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")
pytest.importorskip("lm_eval")

from lm_eval import evaluator  # noqa: E402

from haloquant.errors import InputError  # noqa: E402
from haloquant.lm.evaluation.lm_eval_tasks import (  # noqa: E402
    evaluate_questions,
    evaluate_tasks,
    evaluate_text,
    evaluate_wikitext,
    split_pages,
)
from haloquant.lm.evaluation.text_tasks import last_word, next_passage  # noqa: E402
from haloquant.lm.text import load_text, load_tokenizer  # noqa: E402
from haloquant.lm.torch_model import load_model  # noqa: E402

pytestmark = pytest.mark.usefixtures("offline")

WINDOW = 64
TASK = """task: tiny
dataset_path: json
dataset_kwargs: {{data_files: {{test: {data}}}, cache_dir: {cache}}}
test_split: test
output_type: loglikelihood_rolling
doc_to_text: ""
doc_to_target: "{{{{page}}}}"
metric_list: [{{metric: byte_perplexity}}]
"""


@pytest.fixture(scope="module")
def parts(find_data: Callable[[str], Path]) -> tuple[Any, Any, str]:
    folder = find_data("models/stories260K")
    text = load_text(find_data("text/tinystories_valid.txt.xz"))[:900]
    return load_model(folder), load_tokenizer(folder), text


def rolling(model: Any, tokenizer: Any, text: str) -> float:
    """Sum of log-likelihoods in windows of WINDOW; the last one reaches back for context, only what is new counts."""
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    whole = [tokenizer.bos_token_id, *ids]
    total, done = 0.0, 0
    while done < len(ids):
        end = min(done + WINDOW, len(ids))
        start = max(0, end - WINDOW) if done else 0
        with torch.no_grad():
            logits = model(input_ids=torch.tensor([whole[start:end]])).logits[0].double()
        scores = torch.log_softmax(logits, -1)
        total += sum(float(scores[i - start, ids[i]]) for i in range(done, end))
        done = end
    return total


def test_it_equals_a_plain_loop(parts: tuple[Any, Any, str]) -> None:
    model, tokenizer, text = parts
    pages = [text[:700], text[700:]]
    found = evaluate_text(model, tokenizer, pages, window=WINDOW)
    total = sum(rolling(model, tokenizer, page) for page in pages)
    words = sum(len(re.split(r"\s+", page)) for page in pages)
    size = sum(len(page.encode()) for page in pages)
    assert found.word_perplexity == pytest.approx(math.exp(-total / words), rel=1e-4)
    assert found.byte_perplexity == pytest.approx(math.exp(-total / size), rel=1e-4)
    assert found.bits_per_byte == pytest.approx(-total / size / math.log(2), rel=1e-4)
    assert (found.documents, found.task) == (2, "text")


def test_nothing_is_printed(parts: tuple[Any, Any, str], capfd: pytest.CaptureFixture[str]) -> None:
    model, tokenizer, text = parts
    evaluate_text(model, tokenizer, [text[:100]], window=WINDOW)
    captured = capfd.readouterr()
    assert captured.out == "" and "it/s" not in captured.err


def test_no_program_describes_the_machine(parts: tuple[Any, Any, str], monkeypatch: pytest.MonkeyPatch) -> None:
    model, tokenizer, text = parts
    started: list[str] = []
    begin = subprocess.Popen.__init__

    def told(process: Any, arguments: Any, *given: Any, **settings: Any) -> None:
        started.append(arguments[0] if isinstance(arguments, list) else arguments)
        begin(process, arguments, *given, **settings)

    monkeypatch.setattr(subprocess.Popen, "__init__", told)
    describe = evaluator.add_env_info
    evaluate_text(model, tokenizer, [text[:100]], window=WINDOW)
    assert [name for name in started if name != "git"] == []  # lm-eval asks for its own commit
    assert evaluator.add_env_info is describe


def test_wikitext_follows_the_rules_of_lm_evals_own_task(parts: tuple[Any, Any, str]) -> None:
    model, tokenizer, _ = parts
    text = "\n = A page = \n\n It cost 1 @,@ 000 . \n = = Part = = \n\n More . \n = Another = \n\n Text . \n"
    pages = split_pages(text)
    assert [page[:12] for page in pages] == [" = A page = ", " = Another ="]
    found = evaluate_wikitext(model, tokenizer, text, window=WINDOW)
    detokenized = [" = A page = \n\nIt cost 1,000.\n == Part == \n\nMore.\n", " = Another = \n\nText.\n"]
    plain = evaluate_text(model, tokenizer, detokenized, window=WINDOW)
    size, own = (sum(len(p.encode()) for p in ps) for ps in (pages, detokenized))
    assert found.documents == 2
    seen: list[tuple[int, int]] = []
    first = evaluate_wikitext(model, tokenizer, text, limit=1, window=WINDOW)
    assert first == evaluate_wikitext(model, tokenizer, pages[0], window=WINDOW)
    evaluate_wikitext(model, tokenizer, text, window=4, tell=lambda *counts: seen.append(counts))
    (windows,) = {total for _, total in seen}  # the same for all pages
    assert [done for done, _ in seen] == list(range(windows + 1)) and windows > 5
    # the same likelihood of the detokenized text, over the bytes of the raw one
    assert found.bits_per_byte * size == pytest.approx(plain.bits_per_byte * own, rel=0.1)
    with pytest.raises(InputError, match="must have ' = Title = ' lines that begin its pages, but has none"):
        split_pages("no page")


def test_the_wikitext_test_split_has_its_62_pages(find_data: Callable[[str], Path]) -> None:
    assert len(split_pages(load_text(find_data("text/wikitext2_raw_test.txt.xz")))) == 62


def test_a_users_task_file(parts: tuple[Any, Any, str], tmp_path: Path) -> None:
    model, tokenizer, text = parts
    import json

    data = tmp_path / "data.json"
    data.write_text(json.dumps({"page": text[:300]}))
    (tmp_path / "tiny.yaml").write_text(TASK.format(data=data, cache=tmp_path / "cache"))
    found = evaluate_tasks(model, tokenizer, tmp_path, ["tiny"], window=WINDOW)
    same = evaluate_text(model, tokenizer, [text[:300]], window=WINDOW)
    assert found["tiny"]["byte_perplexity"] == pytest.approx(same.byte_perplexity)
    with pytest.raises(InputError, match=r"a task must be one of those in .* \(tiny\), not 'hellaswag'"):
        evaluate_tasks(model, tokenizer, tmp_path, ["hellaswag"])


def test_an_evaluation_needs_text(parts: tuple[Any, Any, str]) -> None:
    model, tokenizer, _ = parts
    with pytest.raises(InputError, match="an evaluation must have text, not none"):
        evaluate_text(model, tokenizer, [" "])
    assert np.isfinite(evaluate_text(model, tokenizer, ["a"], window=WINDOW).byte_perplexity)


def answered(model: Any, tokenizer: Any, context: str, answer: str) -> tuple[float, bool]:
    """Log-likelihood of an answer behind a context, and whether each of its tokens is the most likely one."""
    ids = tokenizer(f"{context} {answer}")["input_ids"]
    first = len(tokenizer(context)["input_ids"])
    with torch.no_grad():
        scores = torch.log_softmax(model(input_ids=torch.tensor([ids])).logits[0].double(), -1)[first - 1 : -1]
    wanted = torch.tensor(ids[first:])
    return float(scores.gather(1, wanted[:, None]).sum()), bool((scores.argmax(-1) == wanted).all())


def test_questions_of_a_text_have_the_scores_of_a_plain_loop(
    parts: tuple[Any, Any, str], find_data: Callable[[str], Path]
) -> None:
    model, tokenizer, _ = parts
    text = load_text(find_data("text/tinystories_valid.txt.xz"))[:60_000]
    words, passages = last_word(text), next_passage(text)
    found = evaluate_questions(model, tokenizer, words, limit=10)
    asked = [words.documents[k * len(words.documents) // 10] for k in range(10)]
    plain = [answered(model, tokenizer, x["context"], x["word"]) for x in asked]
    assert found["acc"] == np.mean([right for _, right in plain]) and found["documents"] == 10
    assert found["perplexity"] == pytest.approx(math.exp(-np.mean([score for score, _ in plain])), rel=1e-4)
    found = evaluate_questions(model, tokenizer, passages, limit=10)
    asked = [passages.documents[k * len(passages.documents) // 10] for k in range(10)]
    scores = np.array([[answered(model, tokenizer, x["context"], y)[0] for y in x["choices"]] for x in asked])
    lengths = np.array([[len(y) for y in x["choices"]] for x in asked])
    labels = np.array([x["label"] for x in asked])
    right = scores.argmax(1) == labels
    assert found["acc"] == right.mean() and found["acc_stderr"] == pytest.approx(right.std(ddof=1) / 10**0.5)
    assert found["acc_norm"] == ((scores / lengths).argmax(1) == labels).mean()
