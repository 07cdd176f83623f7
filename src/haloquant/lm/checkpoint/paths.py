"""Checks of paths: that a model is a folder of this machine, and that a shard is in its folder."""

from pathlib import Path, PurePath

from haloquant.errors import CheckpointError


def local_folder(folder: Path | str) -> Path:
    """Return `folder` as a path, if it is a folder of this machine. `~` is the home folder.

    Raises:
        CheckpointError: the folder does not exist, or it is a file. The name is never looked up on a model hub.
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


def is_shard_name(name: object) -> bool:
    """Return whether an index may name this shard: only a *.safetensors file in the folder of the index."""
    return (
        isinstance(name, str)
        and PurePath(name).name == name
        and name.isprintable()
        and name.endswith(".safetensors")
        and len(name.encode("utf-8", "surrogatepass")) <= 255  # limit of common file systems
    )
