"""Models by their names on the Hugging Face hub: `owner/model` or `owner/model@revision`.

A name is looked up in the hub's cache on this machine. Nothing is fetched unless the user asks for it, with
`haloquant --download COMMAND` or the environment variable HALOQUANT_DOWNLOAD=1. A name stands for the commit that its
revision has in the cache (`main` where none is given). Results name that commit.
"""

import os
import re
from pathlib import Path

from haloquant.errors import CheckpointError, MissingExtraError, first_line

DOWNLOAD = "HALOQUANT_DOWNLOAD"
# Configuration, tokenizer and weights; no pickled weights and no code.
FETCHED = ("*.json", "*.safetensors", "*.gguf", "*.txt", "*.model", "*.jinja", "*.tiktoken")
_NAME = re.compile(r"([A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95})(?:@([\w./-]{1,200}))?")
_SNAPSHOT = re.compile(r".*/models--([^/]+?)--([^/]+)/snapshots/([0-9a-f]{40})")


def is_hub_name(text: str) -> bool:
    """Return whether `text` has the form `owner/model` or `owner/model@revision`."""
    return _NAME.fullmatch(text) is not None


def find_snapshot(name: str) -> Path:
    """Return the folder of a model of the hub in the cache of this machine; fetch it first if the user asks for that.

    Raises:
        CheckpointError: The cache does not hold it, or it cannot be fetched.
        MissingExtraError: huggingface_hub is not installed.
    """
    match = _NAME.fullmatch(name)
    if match is None:
        raise CheckpointError(
            f"a model of the hub must be named owner/model or owner/model@revision, not {name!r:.200}"
        )
    try:
        from huggingface_hub import constants, snapshot_download
    except ImportError as error:
        raise MissingExtraError(
            f"the model must be a folder on this machine, but {name} does not exist; a name of the hub needs "
            "huggingface_hub: pip install 'haloquant[lm]'"
        ) from error
    asked = os.environ.get(DOWNLOAD, "") not in ("", "0")
    cache = constants.HF_HUB_CACHE
    try:
        found = snapshot_download(
            match[1], revision=match[2], cache_dir=cache, local_files_only=not asked, allow_patterns=list(FETCHED)
        )
    except Exception as error:  # the library raises classes of its own and of its HTTP client
        if asked:
            raise CheckpointError(f"{name} must be a model that the hub gives out, but: {first_line(error)}") from error
        raise CheckpointError(
            f"the model must be a folder on this machine, but {name} does not exist; nothing is fetched from a hub "
            f"unless asked, and the hub's cache ({cache}) does not hold it; `haloquant --download ...` or {DOWNLOAD}=1 "
            "fetches it"
        ) from error
    return Path(found)


def origin(folder: Path) -> str:
    """Return `owner/model@commit` for a folder in the hub's cache, and "" for any other folder."""
    match = _SNAPSHOT.fullmatch(str(folder))
    return "" if match is None else f"{match[1]}/{match[2]}@{match[3]}"


def origin_entry(origin: str) -> dict[str, str]:
    """Return the entry of manifests and results that names the commit of a model of the hub; none for any other."""
    return {"model": origin} if origin else {}


def hub_note(origin: str) -> tuple[str, ...]:
    """Return the note that names the commit of a model in the hub's cache; none for any other model."""
    name, _, commit = origin.partition("@")
    return (f"{name} is read from the hub's cache at commit {commit}",) if origin else ()
