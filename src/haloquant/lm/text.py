"""Read texts (.txt and .xz) of bounded size, and tokenize them with the tokenizer of the model folder."""

import lzma
from pathlib import Path
from typing import Any, BinaryIO

import msgspec
import numpy as np
from jaxtyping import Int64

from haloquant.errors import MALFORMED, CheckpointError, InputError, first_line
from haloquant.lm.checkpoint.gguf.split import MARK
from haloquant.lm.checkpoint.paths import local_folder
from haloquant.store.atomic_files import regular_size
from haloquant.store.placeholder_files import BEGINNING, is_pointer, stand_in

MAX_TEXT_BYTES = 256 << 20  # size after decompression
MAX_TOKENIZER_BYTES = 128 << 20
MAX_XZ_MEMORY_BYTES = 256 << 20  # reading a file of `xz -9` takes 65 MiB
CHUNK_BYTES = 1 << 20
BINARY_CHARACTERS = 8000  # git, too, looks for a zero in the first 8000 bytes to recognize a binary file


def load_text(path: Path | str, limit_bytes: int = MAX_TEXT_BYTES) -> str:
    """Return the UTF-8 text of a .txt or .xz file.

    Raises:
        InputError: The file is missing, not UTF-8, damaged, empty, binary, or longer than `limit_bytes` once
            decompressed; or a pointer of Git LFS stands in its place.
    """
    path = Path(path).expanduser()
    try:
        if not path.is_dir():
            regular_size(path)
        with path.open("rb") as stream:
            if is_pointer(beginning := stream.read(BEGINNING)):
                raise InputError(stand_in(path, beginning))
            stream.seek(0)
            raw = _read_xz(stream, limit_bytes + 1) if path.suffix == ".xz" else stream.read(limit_bytes + 1)
    except FileNotFoundError as error:
        raise InputError(f"a text must be a .txt or .xz file, but {path} does not exist") from error
    except IsADirectoryError as error:
        raise InputError(f"a text must be a .txt or .xz file, but {path} is a folder") from error
    except (lzma.LZMAError, EOFError) as error:
        if "limit" in str(error):
            raise InputError(
                f"{path} must be an .xz file that is read in {MAX_XZ_MEMORY_BYTES >> 20} MiB of memory, but claims a "
                "larger dictionary; compress it again with `xz -9` or less"
            ) from error
        raise InputError(f"{path} must be a whole .xz file, but is damaged: {error}") from error
    except OSError as error:
        raise InputError(f"{path} must be readable, but: {error.strerror}") from error
    if len(raw) > limit_bytes:
        raise InputError(f"{path} must hold at most {limit_bytes} bytes of text, but holds more")
    try:
        text = raw.decode("utf-8-sig")  # a mark of the byte order, which some editors write, is no part of the text
    except UnicodeDecodeError as error:
        raise InputError(f"{path} must be UTF-8 text, but byte {error.start} is not") from error
    if not text.strip():
        raise InputError(f"{path} must hold text, but is empty")
    if "\0" in text[:BINARY_CHARACTERS]:
        raise InputError(f"{path} must hold text, but holds the character of number 0, as binary files do")
    return text


def _read_xz(stream: BinaryIO, most_bytes: int) -> bytes:
    """Return at most `most_bytes` decompressed bytes of an .xz file, which may hold several streams.

    Bytes after the last stream that are not a stream are ignored. The memory that a header requests is limited before
    it is allocated.
    """
    pieces: list[bytes] = []
    left = most_bytes
    decoder = lzma.LZMADecompressor(memlimit=MAX_XZ_MEMORY_BYTES)
    while left:
        data, ended = b"", decoder.eof
        if ended:
            data = decoder.unused_data or stream.read(CHUNK_BYTES)
            if not data.strip(b"\0"):  # zero bytes may pad the streams
                break
            data = data.lstrip(b"\0")
            decoder = lzma.LZMADecompressor(memlimit=MAX_XZ_MEMORY_BYTES)
        elif decoder.needs_input and not (data := stream.read(CHUNK_BYTES)):
            raise EOFError("it ends early")
        try:
            pieces.append(decoder.decompress(data, left))
        except lzma.LZMAError:
            if ended:
                break
            raise
        left -= len(pieces[-1])
    return b"".join(pieces)


def load_tokenizer(folder: Path | str) -> Any:
    """Return the tokenizer of a model folder, from local files only and without running code of the model.

    Raises:
        CheckpointError: The folder holds no tokenizer, or one that transformers cannot build.
    """
    path = local_folder(folder)
    names = ("tokenizer.json", "tokenizer.model", "vocab.json", "tokenizer_config.json")
    if not any((path / name).is_file() for name in names):
        if (path / MARK).is_file():
            raise CheckpointError(
                f"the GGUF file of {path.name} must hold a tokenizer, but holds none; give the original folder of this "
                "model"
            )
        raise CheckpointError(
            f"{path} must hold a tokenizer (tokenizer.json), but holds none; copy it from the original"
        )
    for name in names:
        _check_stand_in(path / name)
    json = path / "tokenizer.json"
    if json.is_file() and json.stat().st_size > MAX_TOKENIZER_BYTES:
        raise CheckpointError(f"{json} must be at most {MAX_TOKENIZER_BYTES} bytes, not {json.stat().st_size}")
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(path, local_files_only=True, trust_remote_code=False)
    except Exception as error:  # the library raises bare Exception for a damaged tokenizer.json
        _check_config(path)  # it reads config.json too
        _check_tokenizer_file(json)
        raise CheckpointError(f"the tokenizer of {path} must load in transformers, but: {first_line(error)}") from error


def _check_stand_in(file: Path) -> None:
    """Refuse a file of a tokenizer in whose place a tool left another.

    Raises:
        CheckpointError: It is such a file.
    """
    if not file.is_file():
        return
    with file.open("rb") as stream:
        said = stand_in(file, stream.read(BEGINNING))
    if said is not None:
        raise CheckpointError(said)


def _check_tokenizer_file(file: Path) -> None:
    """Refuse a tokenizer.json that is no description of a tokenizer: transformers says what it looked up in it.

    Raises:
        CheckpointError: The file is there, and is none.
    """
    if not file.is_file():
        return
    try:
        found = msgspec.json.decode(file.read_bytes())
    except MALFORMED as error:
        raise CheckpointError(f"{file} must be the JSON description of a tokenizer, but: {error}") from error
    lacking = [key for key in ("added_tokens", "model") if not isinstance(found, dict) or key not in found]
    if lacking:
        raise CheckpointError(
            f"{file} must be the description of a tokenizer, an object with added_tokens and model, but lacks "
            f"{' and '.join(lacking)}; copy it from the original"
        )


def _check_config(folder: Path) -> None:
    """Refuse a configuration that transformers cannot read: that, and not the tokenizer, is to be mended.

    Raises:
        CheckpointError: config.json is there, and is malformed.
    """
    from transformers import AutoConfig

    from haloquant.lm.model_class import building

    if (folder / "config.json").is_file():
        with building(folder, folder):
            AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)


def tokenize(folder: Path | str, text: str) -> Int64[np.ndarray, " t"]:
    """Return the token ids of the whole text, as the model's own tokenizer gives them.

    If the tokenizer adds a token at the beginning, it is included.

    Raises:
        CheckpointError: As `load_tokenizer`.
        InputError: The text is empty.
    """
    if not text.strip():
        raise InputError("a text to be tokenized must not be empty")
    ids = load_tokenizer(folder)(text, verbose=False)["input_ids"]
    return np.asarray(ids, np.int64)
