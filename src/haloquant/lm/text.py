"""Texts and tokens: bounded reads of .txt and .xz, and the tokenizer that lies beside the model."""

import lzma
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int64

from haloquant.errors import CheckpointError, InputError
from haloquant.lm.files import model_folder

MAX_TEXT_BYTES = 256 << 20  # of the text itself, after decompression
MAX_TOKENIZER_BYTES = 128 << 20


def load_text(path: Path | str, limit_bytes: int = MAX_TEXT_BYTES) -> str:
    """The UTF-8 text of a .txt or .xz file.

    Raises:
        InputError: the file is missing, no UTF-8, damaged, empty, or longer than `limit_bytes` once decompressed.
    """
    path = Path(path).expanduser()
    try:
        with lzma.open(path, "rb") if path.suffix == ".xz" else path.open("rb") as stream:
            raw = stream.read(limit_bytes + 1)
    except FileNotFoundError as error:
        raise InputError(f"a text must be a .txt or .xz file, but {path} does not exist") from error
    except IsADirectoryError as error:
        raise InputError(f"a text must be a .txt or .xz file, but {path} is a folder") from error
    except (lzma.LZMAError, EOFError) as error:
        raise InputError(f"{path} must be a whole .xz file, but is damaged: {error}") from error
    except OSError as error:
        raise InputError(f"{path} must be readable, but: {error.strerror}") from error
    if len(raw) > limit_bytes:
        raise InputError(f"{path} must hold at most {limit_bytes} bytes of text, but holds more")
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InputError(f"{path} must be UTF-8 text, but byte {error.start} is not") from error
    if not text.strip():
        raise InputError(f"{path} must hold text, but is empty")
    return text


def load_tokenizer(folder: Path | str) -> Any:
    """The tokenizer of a model folder, from local files only and without running code of the model.

    Raises:
        CheckpointError: the folder holds no tokenizer, or one that transformers cannot build.
    """
    path = model_folder(folder)
    names = ("tokenizer.json", "tokenizer.model", "vocab.json", "tokenizer_config.json")
    if not any((path / name).is_file() for name in names):
        raise CheckpointError(
            f"{path} must hold a tokenizer (tokenizer.json), but holds none; copy it from the original"
        )
    json = path / "tokenizer.json"
    if json.is_file() and json.stat().st_size > MAX_TOKENIZER_BYTES:
        raise CheckpointError(f"{json} must be at most {MAX_TOKENIZER_BYTES} bytes, not {json.stat().st_size}")
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(path, local_files_only=True, trust_remote_code=False)
    except Exception as error:  # the library raises bare Exception for a damaged tokenizer.json
        raise CheckpointError(
            f"the tokenizer of {path} must load in transformers, but: {_first_line(error)}"
        ) from error


def tokenize(folder: Path | str, text: str) -> Int64[np.ndarray, " t"]:
    """Token ids of the whole text as the model's own tokenizer gives them (with its leading token, if it adds one).

    Raises:
        CheckpointError: as `load_tokenizer`.
        InputError: the text has no token.
    """
    if not text.strip():
        raise InputError("a text to be tokenized must not be empty")
    ids = load_tokenizer(folder)(text, verbose=False)["input_ids"]
    return np.asarray(ids, np.int64)


def bos_token(folder: Path | str) -> int | None:
    """The id of the token that begins a text for this model, where its tokenizer names one."""
    return load_tokenizer(folder).bos_token_id


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
