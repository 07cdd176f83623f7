"""Bounded reads of a model folder's small files, and the check that a path is a folder at all."""

import stat
from pathlib import Path, PurePath

from haloquant.errors import CheckpointError


def model_folder(folder: Path | str) -> Path:
    """`folder` as a path, if it is a folder.

    Raises:
        CheckpointError: nothing is there, or a file is. Names are never looked up on a model hub.
    """
    path = Path(folder).expanduser()
    if path.is_dir():
        return path
    if path.exists():
        raise CheckpointError(f"the model must be a folder with config.json and safetensors, not the file {path}")
    raise CheckpointError(
        f"the model must be a folder on this machine, but {path} does not exist; "
        "nothing is fetched from a hub: download the model first and give its folder"
    )


def read_bounded(path: Path, limit_bytes: int, purpose: str) -> bytes:
    """All bytes of a file that must be small.

    Raises:
        CheckpointError: the file is missing, unreadable or larger than `limit_bytes`.
    """
    try:
        about = path.stat()
        if not stat.S_ISREG(about.st_mode):  # a named pipe would be waited for without end
            raise CheckpointError(f"{path} must be a regular file, and is not")
        size = about.st_size
        if size > limit_bytes:
            raise CheckpointError(f"{path} must be at most {limit_bytes} bytes, not {size}")
        with path.open("rb") as file:
            return file.read(size)  # the limit itself would be taken from memory at once
    except FileNotFoundError as error:
        raise CheckpointError(f"{purpose}, but {path} does not exist") from error
    except OSError as error:
        raise CheckpointError(f"{path} must be readable, but: {error.strerror}") from error


def is_shard_name(name: object) -> bool:
    """Whether an index may name this shard: a file beside the index, never a path out of the folder."""
    return (
        isinstance(name, str)
        and PurePath(name).name == name
        and name.isprintable()
        and name.endswith(".safetensors")
        and len(name.encode("utf-8", "surrogatepass")) <= 255  # what a file system takes
    )
