"""Tokenizers of GGUF files: tokens worked by hand, tokens with a role, and lists that do not fit together."""

from pathlib import Path
from typing import Any

import pytest
from platformdirs import user_cache_path

gguf = pytest.importorskip("gguf")
pytest.importorskip("torch")

from haloquant.errors import CheckpointError  # noqa: E402
from haloquant.lm.checkpoint.gguf.folder import make_folder  # noqa: E402
from haloquant.lm.checkpoint.gguf.header import read_gguf_header  # noqa: E402
from haloquant.lm.checkpoint.gguf.tokenizer import write_tokenizer  # noqa: E402
from haloquant.lm.text import load_tokenizer, tokenize  # noqa: E402

BEGIN, THINK = "<｜begin▁of▁text｜>", "<think>"  # letters that stand for no bytes
WORDS = [BEGIN, THINK, *"abcd123.", "Ġ", "Ċ", "ĠĠ", "ab", "abcd", "  \t"]
KINDS = [3, 4, *[1] * 13, 4]
PIECES = ["<unk>", "<s>", "</s>", "▁", "a", "b", "▁a", "ab", "▁ab", *(f"<0x{byte:02X}>" for byte in range(256))]
ROLES = {"bos_token_id": 1, "eos_token_id": 2, "unknown_token_id": 0}


def save(tmp_path: Path, tokens: list[str], kind: str = "gpt2", family: str = "llama", **entries: Any) -> Path:
    """Write the metadata of a tokenizer to a file."""
    writer = gguf.GGUFWriter(tmp_path / "x.gguf", family)
    writer.add_tokenizer_model(kind)
    writer.add_token_list(tokens)
    for name, value in entries.items():
        key = f"tokenizer.ggml.{name}"
        adders = {bool: writer.add_bool, int: writer.add_uint32, str: writer.add_string, list: writer.add_array}
        adders[type(value)](key, value)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return tmp_path / "x.gguf"


def build(file: Path) -> tuple[Any, tuple[str, ...]]:
    """Return the tokenizer of a file, loaded from the folder that it is written to, and the sentences on it."""
    folder = file.parent / "made"
    folder.mkdir()
    notes = write_tokenizer(read_gguf_header(file), folder)
    return load_tokenizer(folder), notes


def bytes_of(**more: Any) -> dict[str, Any]:
    merges = ["Ġ Ġ", "a b"]
    return {"token_type": KINDS, "merges": merges, "bos_token_id": 0, "pre": "smollm", **more}


def test_tokens_with_a_role_keep_their_numbers_whatever_their_letters(tmp_path: Path) -> None:
    tokenizer, notes = build(save(tmp_path, WORDS, **bytes_of(add_bos_token=True, padding_token_id=2**32 - 1)))
    assert len(tokenizer) == len(WORDS) and tokenizer.bos_token_id == 0 and tokenizer.pad_token_id is None
    place = WORDS.index
    ids = [0, place("ab"), place("ĠĠ"), place("1"), place("2"), 1, place("."), 0, place("  \t"), place("c")]
    text = f"ab  12{THINK}.{BEGIN}  \tc"
    assert tokenize(tmp_path / "made", text).tolist() == ids
    assert tokenizer.decode(ids[1:]) == text and notes == ()


@pytest.mark.parametrize(("pre", "whole"), [("llama-bpe", True), ("qwen2", False)])
def test_llama_3_takes_a_word_of_the_vocabulary_whole_and_begins_a_text(pre: str, whole: bool, tmp_path: Path) -> None:
    build(save(tmp_path, WORDS, **bytes_of(pre=pre)))
    expected = [0, WORDS.index("abcd")] if whole else [WORDS.index(word) for word in ("ab", "c", "d")]
    assert tokenize(tmp_path / "made", "abcd").tolist() == expected


@pytest.mark.parametrize(
    ("pre", "said"), [(None, "does not say how its tokenizer splits text"), ("odd", "splits text 'odd', which is not")]
)
def test_a_split_that_is_not_known_is_said(pre: str | None, said: str, tmp_path: Path) -> None:
    _, notes = build(save(tmp_path, WORDS, **{k: v for k, v in bytes_of(pre=pre).items() if v is not None}))
    assert len(notes) == 1 and said in notes[0] and "split as GPT-2 does" in notes[0]


@pytest.mark.parametrize(("flag", "first"), [(None, "▁ab"), (True, "▁ab"), (False, "ab")])
def test_a_space_stands_before_a_text_only_if_the_file_has_it(flag: bool | None, first: str, tmp_path: Path) -> None:
    scores = [-float(i) for i in range(len(PIECES))]
    entries = {"scores": scores, "token_type": [2, 3, 3, *[1] * 6, *[6] * 256], **ROLES, "padding_token_id": 1 << 30}
    build(save(tmp_path, PIECES, "llama", **entries, **({} if flag is None else {"add_space_prefix": flag})))
    assert tokenize(tmp_path / "made", "ab a").tolist() == [1, PIECES.index(first), PIECES.index("▁a")]
    assert load_tokenizer(tmp_path / "made").decode([PIECES.index(first), PIECES.index("▁a")]) == "ab a"


@pytest.mark.parametrize(
    ("kind", "entries", "sentence"),
    [
        ("gpt2", {"token_type": [1, 1]}, r"token_type for each of its 16 tokens, but holds 2"),
        ("llama", {}, r"tokenizer\.ggml\.scores for each of its 16 tokens, but holds none"),
        ("llama", {"scores": [0.5] * 15}, r"scores for each of its 16 tokens, but holds 15"),
        ("gpt2", {"merges": ["a Q"]}, "must hold a tokenizer that can be built, but: .*Q"),
        ("bert", {}, r"of the kind gpt2 .* or llama .*, not 'bert'"),
    ],
)
def test_a_tokenizer_that_does_not_fit_together_is_refused(
    kind: str, entries: dict[str, Any], sentence: str, tmp_path: Path
) -> None:
    with pytest.raises(CheckpointError, match=sentence):
        build(save(tmp_path, WORDS, kind, **entries))


@pytest.mark.slow
def test_the_tokens_of_a_real_model_are_the_published_ones() -> None:
    file = user_cache_path("haloquant") / "models" / "SmolLM2-135M-Instruct.Q4_1.gguf"
    if not file.is_file():
        pytest.skip("needs the model that scripts/real_model.py fetches")
    tokenizer = load_tokenizer(make_folder(file))
    for text, ids in {  # of other programs that run this family
        "Hello world! 123": [19556, 905, 17, 216, 33, 34, 35],
        "Café déjà vu.": [51, 1939, 2756, 32564, 90, 16739, 386, 101, 30],
        "  multiple   spaces": [216, 2701, 256, 5600],
    }.items():
        assert tokenizer(text)["input_ids"] == ids
    # Line ends before a digit are one piece, as digits are split off first.
    assert [tokenizer.decode([i]) for i in tokenizer("a\n\n7")["input_ids"]] == ["a", "\n\n", "7"]


def test_a_file_without_tokens_has_no_tokenizer(tmp_path: Path) -> None:
    file = save(tmp_path, ["x"])
    header = read_gguf_header(file)
    header.metadata.pop("tokenizer.ggml.tokens")  # type: ignore[attr-defined]
    assert write_tokenizer(header, tmp_path) == () and not (tmp_path / "tokenizer.json").exists()
