"""Models as people have them, through the public functions: from the file to the packed folder and its scores."""

import json
from pathlib import Path

import numpy as np
import pytest

gguf = pytest.importorskip("gguf")
torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

import haloquant  # noqa: E402
from haloquant.cli.app import invoke  # noqa: E402
from haloquant.errors import CheckpointError  # noqa: E402
from haloquant.lm.quiet_transformers import quiet_transformers  # noqa: E402
from haloquant.lm.torch_model import load_model  # noqa: E402
from support.gguf_files import convert  # noqa: E402
from support.tiny_model import save_llama  # noqa: E402

WORDS = ("the old dog", "a girl", "nobody"), ("saw", "carried", "sold"), ("a boat", "three letters", "the lamp")


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("text") / "text.txt"
    path.write_text(" ".join(f"{a} {b} {c}." for a in WORDS[0] for b in WORDS[1] for c in WORDS[2]))
    return path


def test_a_gguf_file_becomes_a_packed_folder(tmp_path: Path, text: Path, capfd: pytest.CaptureFixture[str]) -> None:
    hf = save_llama(tmp_path / "hf", attention_bias=False, vocab_size=262, intermediate_size=160)
    file = convert(hf, tmp_path / "tiny.gguf", "Q8_0")
    made = haloquant.quantize(
        file, tmp_path / "packed", calibration=text, samples=64, goal="acc-opt", tile=32, progress=False
    )
    windows = len(text.read_text().replace("th", "t")) // 64  # one token for each letter, and one for "th"
    assert made.source == f"{windows} windows of text.txt"
    assert f"text.txt has {windows} windows of 64 tokens, so {windows} were used and not 64" in made.notes
    manifest = json.loads((tmp_path / "packed" / "halo_manifest.json").read_text())
    assert manifest["made_by"]["source"] == made.source
    capfd.readouterr()
    scores = [haloquant.evaluate(model, text, progress=False) for model in (file, tmp_path / "packed")]
    said = "the tensors of the GGUF file are Q8_0 (15), F32 (5); their values count as the model's full precision"
    assert said in made.notes
    assert scores[0].notes == (said,) and scores[1].notes == ()
    assert invoke(["evaluate", str(file), "--text", str(text), "-q"]) == 0
    assert said in " ".join(capfd.readouterr().out.split())
    assert scores[0].model == "tiny" and scores[0].bits_per_weight == pytest.approx(8.5)
    assert scores[1].perplexity == pytest.approx(scores[0].perplexity, rel=0.02)
    with quiet_transformers():
        packed = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "packed")
        tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "packed")
    ids = tokenizer("the old boat", return_tensors="pt")["input_ids"]
    with torch.inference_mode():
        away = packed(input_ids=ids).logits - load_model(file)(input_ids=ids).logits
    assert np.abs(away.numpy()).mean() < 0.05
    assert torch.equal(packed.get_input_embeddings().weight, load_model(file).get_input_embeddings().weight)


def test_tokens_beyond_the_vocabulary_are_refused_before_any_work(tmp_path: Path, text: Path) -> None:
    hf = save_llama(tmp_path / "hf", attention_bias=False, vocab_size=262, intermediate_size=160)
    tokenizer = haloquant.lm.text.load_tokenizer(Path(haloquant.__file__).parent / "data" / "demo" / "model")
    tokenizer.save_pretrained(hf)
    for work in (
        lambda: haloquant.evaluate(hf, text, progress=False),
        lambda: haloquant.quantize(hf, tmp_path / "packed", calibration=text, progress=False),
    ):
        with pytest.raises(CheckpointError, match=r"the model's vocabulary of 262, but gives \d+ for text"):
            work()
    assert not (tmp_path / "packed").exists() and not (tmp_path / "packed.work").exists()
