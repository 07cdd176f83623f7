"""Build the tokenizer of a GGUF file: byte-level BPE from its metadata here, sentencepiece by transformers."""

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from haloquant.errors import CheckpointError, MissingExtraError, first_line
from haloquant.lm.checkpoint.gguf.header import GgufHeader
from haloquant.lm.checkpoint.gguf.metadata_file import write_metadata
from haloquant.lm.checkpoint.gguf.pre_tokenizers import (
    WHOLE_WORDS,
    WITH_BEGINNING,
    find_pre_tokenizer,
    gpt2_pre_tokenizer,
)

_PREFIX = "tokenizer.ggml."
_KINDS = ("gpt2", "llama")  # byte-level BPE, and sentencepiece
_CONTROL, _ADDED = 3, 4  # types of tokens: those that mean something to the model, and whole pieces of text
_IDS = {
    "bos_token": "bos_token_id",
    "eos_token": "eos_token_id",
    "unk_token": "unknown_token_id",
    "pad_token": "padding_token_id",
}
_SPACE = "▁"


def write_tokenizer(header: GgufHeader, folder: Path) -> tuple[str, ...]:
    """Write the tokenizer of a file to a folder, if the file holds one; return sentences for the user.

    Raises:
        CheckpointError: It is of another kind than byte-level BPE or sentencepiece, its lists do not fit together, or
            it cannot be built.
        MissingExtraError: Transformers is not installed.
    """
    tokens = header.metadata.get(f"{_PREFIX}tokens")
    if not isinstance(tokens, list) or not tokens:
        return ()
    kind = header.metadata.get(f"{_PREFIX}model")
    if kind not in _KINDS:
        raise CheckpointError(
            f"{header.file} must hold a tokenizer of the kind gpt2 (byte-level BPE) or llama (sentencepiece), not "
            f"{kind!r:.40}; give the original folder of this model"
        )
    _check_lists(header, tokens)
    try:
        from haloquant.lm.quiet_transformers import quiet_transformers
    except ImportError as error:
        raise MissingExtraError("GGUF files need torch and transformers: pip install 'haloquant[gguf]'") from error
    try:
        with quiet_transformers():
            tokenizer, notes = _byte_level(header, tokens) if kind == "gpt2" else (_sentencepiece(header), ())
    except Exception as error:  # the libraries raise whatever a damaged list leads to
        raise CheckpointError(
            f"{header.file} must hold a tokenizer that can be built, but: {first_line(error)}"
        ) from error
    tokenizer.save_pretrained(folder)
    return notes


def _check_lists(header: GgufHeader, tokens: Sequence[Any]) -> None:
    """Refuse lists of the tokenizer that do not fit together.

    Raises:
        CheckpointError: They do not.
    """
    if not all(isinstance(token, str) for token in tokens):
        raise CheckpointError(f"{header.file} must hold its tokens ({_PREFIX}tokens) as a list of strings")
    for name in ("scores", "token_type"):
        found = header.metadata.get(f"{_PREFIX}{name}")
        if found is None and (name != "scores" or header.metadata[f"{_PREFIX}model"] == "gpt2" or _merges(header)):
            continue
        if not isinstance(found, list) or len(found) != len(tokens):
            given = len(found) if isinstance(found, list) else "none"
            raise CheckpointError(
                f"{header.file} must hold one number in {_PREFIX}{name} for each of its {len(tokens)} tokens, but "
                f"holds {given}; its tokenizer is damaged"
            )


def _merges(header: GgufHeader) -> list[str]:
    found = header.metadata.get(f"{_PREFIX}merges")
    return [merge for merge in found if isinstance(merge, str)] if isinstance(found, list) else []


def _special(header: GgufHeader, tokens: Sequence[str]) -> dict[str, str]:
    """Return the tokens with a role, by role. A number beyond the tokens means that there is none."""
    ids = {role: header.metadata.get(f"{_PREFIX}{key}") for role, key in _IDS.items()}
    return {role: tokens[i] for role, i in ids.items() if isinstance(i, int) and 0 <= i < len(tokens)}


def _flag(header: GgufHeader, name: str, usual: bool) -> bool:
    found = header.metadata.get(f"{_PREFIX}{name}")
    return found if isinstance(found, bool) else usual


def _byte_level(header: GgufHeader, tokens: Sequence[str]) -> tuple[Any, tuple[str, ...]]:
    """Return a byte-level tokenizer, and sentences on what the file does not say of it.

    transformers knows some pre-tokenizers only, and takes a control token whose letters stand for no bytes
    (`<｜begin▁of▁sentence｜>` of DeepSeek) for a new token behind the vocabulary.
    """
    from tokenizers import AddedToken, Tokenizer, decoders, models, processors
    from transformers import PreTrainedTokenizerFast
    from transformers.convert_slow_tokenizer import bytes_to_unicode

    kinds = header.metadata.get(f"{_PREFIX}token_type") or [1] * len(tokens)
    if not isinstance(kinds, list):
        raise TypeError(f"{_PREFIX}token_type must be a list")
    spelling: Mapping[int, str] = bytes_to_unicode()
    alphabet = set(spelling.values())
    whole = [i for i, kind in enumerate(kinds) if kind in (_CONTROL, _ADDED)]
    spelled = [
        token
        if kind in (_CONTROL, _ADDED) or set(token) <= alphabet
        else "".join(spelling[byte] for byte in token.encode())
        for token, kind in zip(tokens, kinds, strict=True)
    ]
    name = str(header.metadata.get(f"{_PREFIX}pre", ""))
    split = find_pre_tokenizer(name)
    model = models.BPE(
        vocab={token: i for i, token in enumerate(spelled)},
        merges=[(first, second) for first, _, second in (merge.partition(" ") for merge in _merges(header))],
        ignore_merges=name in WHOLE_WORDS,
    )
    built = Tokenizer(model)
    built.pre_tokenizer = gpt2_pre_tokenizer() if split is None else split
    built.decoder = decoders.ByteLevel()
    special = _special(header, tokens)
    before = special.get("bos_token") if _flag(header, "add_bos_token", name in WITH_BEGINNING) else None
    after = special.get("eos_token") if _flag(header, "add_eos_token", False) else None
    built.add_tokens([AddedToken(tokens[i], normalized=False) for i in whole if kinds[i] == _ADDED and tokens[i]])
    built.add_special_tokens([AddedToken(tokens[i], normalized=False) for i in whole if kinds[i] == _CONTROL])
    built.post_processor = processors.ByteLevel(trim_offsets=False)
    if before or after:
        built.post_processor = processors.TemplateProcessing(
            single=[*([before] if before else []), "$A", *([after] if after else [])],
            special_tokens=[(token, tokens.index(token)) for token in (before, after) if token],
        )
    chat = header.metadata.get("tokenizer.chat_template")
    given: dict[str, Any] = {**special, "chat_template": chat} if isinstance(chat, str) else dict(special)
    return PreTrainedTokenizerFast(tokenizer_object=built, **given), _notes(name, split is not None)


def _notes(name: str, known: bool) -> tuple[str, ...]:
    if known:
        return ()
    why = f"calls the way its tokenizer splits text {name!r:.40}, which is not known here" if name else ""
    why = why or "does not say how its tokenizer splits text (tokenizer.ggml.pre)"
    return (f"the GGUF file {why}, so text is split as GPT-2 does; tokens can differ from the model's own",)


def _sentencepiece(header: GgufHeader) -> Any:
    """Return the sentencepiece tokenizer that transformers builds, with a space before a text only if the file has it.

    transformers reads the tokens of a role by their numbers, and fails at numbers beyond the tokens.
    """
    from tokenizers import decoders, normalizers, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    tokens = header.metadata[f"{_PREFIX}tokens"]
    count = len(tokens) if isinstance(tokens, list) else 0
    absent = {f"{_PREFIX}{key}" for key in _IDS.values() if not _within(header.metadata.get(f"{_PREFIX}{key}"), count)}
    with tempfile.TemporaryDirectory(prefix="haloquant-gguf-") as scratch:
        write_metadata(header, Path(scratch) / "header.gguf", lambda name: name not in absent)
        built = PreTrainedTokenizerFast.from_pretrained(scratch, gguf_file="header.gguf", local_files_only=True)
    if not _flag(header, "add_space_prefix", True) and not header.architecture.startswith("gemma"):
        backend = built.backend_tokenizer
        backend.normalizer = normalizers.Replace(" ", _SPACE)
        backend.pre_tokenizer = pre_tokenizers.Metaspace(replacement=_SPACE, prepend_scheme="never", split=False)
        backend.decoder = decoders.Sequence([decoders.Replace(_SPACE, " "), decoders.ByteFallback(), decoders.Fuse()])
    return built


def _within(number: object, count: int) -> bool:
    return isinstance(number, int) and 0 <= number < count
