"""Paths of models: the folder of a model on this machine, and the names of shards in it."""

from pathlib import Path, PurePath

from haloquant.errors import CheckpointError
from haloquant.lm.checkpoint.gguf.header import MAGIC
from haloquant.lm.checkpoint.gguf.split import MARK, parts_of
from haloquant.lm.checkpoint.hub import find_snapshot, is_hub_name

GGUF = ".gguf"


def local_folder(folder: Path | str) -> Path:
    """Return the folder of a model on this machine. `~` is the home folder.

    A name of the hub, `owner/model` or `owner/model@revision`, gives its folder in the hub's cache (`hub`).

    A GGUF file, and a folder that holds one and no safetensors, gives a temporary folder with the configuration, the
    tokenizer and a link to the file (`lm.checkpoint.gguf`).

    Raises:
        CheckpointError: The folder does not exist, it is another file, it holds several models in GGUF, the GGUF file
            is damaged, or the hub's cache does not hold the model. Nothing is fetched unless the user asks for it.
    """
    path = Path(folder).expanduser()
    if not path.exists() and is_hub_name(str(folder)):
        path = find_snapshot(str(folder))
    if path.is_dir():
        file = _gguf_in(path)
        return path if file is None else _gguf_folder(file)
    if is_gguf(path):
        return _gguf_folder(path)
    if path.exists():
        advice = "; give the folder that holds it" if path.suffix == ".safetensors" else ""
        raise CheckpointError(
            f"the model must be a folder with config.json and safetensors, or a GGUF file, not the file {path}{advice}"
        )
    raise CheckpointError(
        f"the model must be a folder on this machine, but {path} does not exist; "
        "nothing is fetched from a hub: download the model first and give its folder"
    )


def is_gguf(path: Path) -> bool:
    """Return whether a file is in GGUF: by its name, or by its first letters where its name does not say."""
    if not path.is_file():
        return False
    if path.suffix.lower() == GGUF:
        return True
    try:
        with path.open("rb") as stream:
            return stream.read(len(MAGIC)) == MAGIC
    except OSError:
        return False


def _gguf_in(folder: Path) -> Path | None:
    """Return the GGUF file of a folder that holds one model in GGUF and no safetensors, or the first file of it.

    None for a folder in Hugging Face format.
    """
    files = [file for file in sorted(folder.iterdir()) if file.is_file()]
    found = [file for file in files if file.suffix.lower() == GGUF]
    if not found or any(file.suffix == ".safetensors" for file in files) or (folder / MARK).is_file():
        return None
    if len({parts_of(file)[0] for file in found}) > 1:
        names = ", ".join(file.name for file in found[:4]) + (", ..." if len(found) > 4 else "")
        raise CheckpointError(f"{folder} holds {len(found)} models in GGUF ({names}); give the path of one of them")
    return found[0]


def _gguf_folder(file: Path) -> Path:
    from haloquant.lm.checkpoint.gguf.folder import make_folder

    return make_folder(file)


def is_shard_name(name: object) -> bool:
    """Return whether an index may name this shard: only a *.safetensors file in the folder of the index."""
    return (
        isinstance(name, str)
        and PurePath(name).name == name
        and name.isprintable()
        and name.endswith(".safetensors")
        and len(name.encode("utf-8", "surrogatepass")) <= 255  # limit of common file systems
    )
