"""How text is split before merges, against pieces worked by hand and the patterns that transformers knows."""

import pytest

pytest.importorskip("tokenizers")

from haloquant.lm.checkpoint.gguf.pre_tokenizers import find_pre_tokenizer

TEXT = "It's 12,345  spaces\n\n99 bottles? HTMLParser's Straße  \t über 2024\r\n(a+b)=c_d №5 日本語 x"


def pieces(name: str, text: str) -> list[str]:
    split = find_pre_tokenizer(name)
    assert split is not None
    found = [piece.replace("Ġ", " ").replace("Ċ", "\n") for piece, _ in split.pre_tokenize_str(text)]
    assert "".join(found) == text
    return found


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("gpt-2", ["a", " ", " 12", "\n", "\n", "345", " it", "'s", " C", "3", "PO", "."]),
        ("smollm", ["a", "  ", "1", "2", "\n\n", "3", "4", "5", " it", "'s", " C", "3", "PO", "."]),
        ("falcon", ["a", " ", " 12", "\n", "\n", "345", " it", "'", "s", " C", "3", "PO", "."]),
        ("llama-bpe", ["a", " ", " ", "12", "\n\n", "345", " it", "'s", " C", "3", "PO", "."]),
        ("qwen2", ["a", " ", " ", "1", "2", "\n\n", "3", "4", "5", " it", "'s", " C", "3", "PO", "."]),
        ("bloom", ["a", " ", " 12", "\n\n", "345", " it's", " C3PO", "."]),
    ],
)
def test_pieces_are_those_of_each_rule(name: str, expected: list[str]) -> None:
    assert pieces(name, "a  12\n\n345 it's C3PO.") == expected


def test_falcon_splits_long_numbers_by_three_digits() -> None:
    assert pieces("falcon", "1234567") == ["123", "456", "7"]


def test_the_rules_of_transformers_give_the_same_pieces() -> None:
    mapping = pytest.importorskip("transformers.integrations.gguf.gguf_tokenizer_mapping")
    from tokenizers import Regex, pre_tokenizers

    for name, pattern in mapping.GGUF_PRE_TOKENIZER_SPLITS.items():
        split = find_pre_tokenizer(name)
        assert split is not None, name
        theirs = pre_tokenizers.Sequence(
            [
                pre_tokenizers.Split(Regex(pattern), behavior="isolated"),
                pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
            ]
        )
        assert split.pre_tokenize_str(TEXT) == theirs.pre_tokenize_str(TEXT), name


def test_another_name_has_no_rule() -> None:
    assert find_pre_tokenizer("none-such") is None and find_pre_tokenizer("") is None
