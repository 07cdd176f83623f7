"""How byte-level tokenizers split text before merges, by the name that a GGUF file gives (`tokenizer.ggml.pre`).

Merges never cross the borders of the pieces, so another split gives other tokens. The patterns are those of the
published tokenizer.json files of the families. llama.cpp knows them by the same names (its source is llama-vocab.cpp).
"""

from collections.abc import Callable
from typing import Any

# Contractions, words, numbers of `digits`, punctuation with line ends, line ends, spaces.
_WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{{L}}\p{{N}}]?{word}+|{digits}"
    r"| ?[^\s{outside}\p{{N}}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_LLAMA3 = _WORDS.format(word=r"\p{L}", digits=r"\p{N}{1,3}", outside=r"\p{L}")
_QWEN2 = _WORDS.format(word=r"\p{L}", digits=r"\p{N}", outside=r"\p{L}")
_QWEN35 = _WORDS.format(word=r"[\p{L}\p{M}]", digits=r"\p{N}", outside=r"\p{L}\p{M}")
# Words are split where small letters are followed by capital ones.
_UPPER, _LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
_CASED = (
    rf"[^\r\n\p{{L}}\p{{N}}]?{_UPPER}*{_LOWER}+ENDING|[^\r\n\p{{L}}\p{{N}}]?{_UPPER}+{_LOWER}*ENDING"
    r"|\p{N}DIGITS| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_TEKKEN = _CASED.replace("ENDING", "").replace("DIGITS", "")
_GPT4O = _CASED.replace("ENDING", r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?").replace("DIGITS", "{1,3}")
_BLOOM = r" ?[^(\s|[.,!?…。，、।۔،])]+"

_LLAMA3_ITSELF = "llama3 llama-v3 llama-bpe falcon3 falcon-h1 pixtral midm-2.0 lfm2 jina-v5-nano"
_SPLITS = {
    _LLAMA3: f"{_LLAMA3_ITSELF} dbrx smaug-bpe glm4 chatglm-bpe",
    _QWEN2: "qwen2 deepseek-r1-qwen kormo f2llmv2 megrez stablelm2 hunyuan solar-open grok-2",
    _QWEN35: "qwen35",
    _TEKKEN: "tekken",
    _GPT4O: "gpt-4o llama4 kanana2 talkie minimax-m2",
    _BLOOM: "bloom poro-chat gpt3-finnish",
}
_GPT2 = "gpt-2 phi-2 mpt olmo jais trillion granite-docling gigachat a.x-4.0 mellum exaone4 modern-bert roberta-bpe"
_DIGITS = "starcoder refact command-r smollm codeshell exaone minerva-7b mellum2"
# A piece that is a word of the vocabulary is one token there, whether merges lead to it or not.
WHOLE_WORDS = frozenset((*_LLAMA3_ITSELF.split(), "tekken"))
# A text begins with the beginning token there, unless the file says otherwise.
WITH_BEGINNING = WHOLE_WORDS | {"chameleon"}


def find_pre_tokenizer(name: str) -> Any | None:
    """Return the pre-tokenizer (of the package tokenizers) of this name; None if the name is not known."""
    found = _makers().get(name)
    return None if found is None else found()


def gpt2_pre_tokenizer() -> Any:
    """Return the pre-tokenizer of GPT-2: contractions, words, numbers, punctuation and spaces."""
    from tokenizers import pre_tokenizers

    return pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)


def _makers() -> dict[str, Callable[[], Any]]:
    from tokenizers import Regex, pre_tokenizers

    def by_pattern(pattern: str) -> Any:
        split = pre_tokenizers.Split(Regex(pattern), behavior="isolated")
        return pre_tokenizers.Sequence([split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])

    def by_digits() -> Any:
        return pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), gpt2_pre_tokenizer()])

    def by_punctuation() -> Any:  # Falcon
        three = pre_tokenizers.Split(Regex(r"[0-9][0-9][0-9]"), behavior="isolated")
        return pre_tokenizers.Sequence([pre_tokenizers.Punctuation("contiguous"), gpt2_pre_tokenizer(), three])

    found: dict[str, Callable[[], Any]] = {name: gpt2_pre_tokenizer for name in _GPT2.split()}
    found |= {name: by_digits for name in _DIGITS.split()}
    found["falcon"] = by_punctuation
    for pattern, names in _SPLITS.items():
        found |= {name: lambda pattern=pattern: by_pattern(pattern) for name in names.split()}
    return found
