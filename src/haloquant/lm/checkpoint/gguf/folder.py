"""Make the small files of a Hugging Face folder from a GGUF file.

`config` makes config.json, and `tokenizer` the tokenizer.
"""

import atexit
import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

from haloquant.lm.checkpoint.gguf.config import make_config
from haloquant.lm.checkpoint.gguf.names import check_architecture, map_tensors
from haloquant.lm.checkpoint.gguf.package import gguf_package
from haloquant.lm.checkpoint.gguf.split import MARK, model_name, parts_of, read_model_header
from haloquant.lm.checkpoint.gguf.tensors import GgufTensor, types_note
from haloquant.lm.checkpoint.gguf.tokenizer import write_tokenizer
from haloquant.lm.checkpoint.gguf.unread_values import check_values
from haloquant.store.temporary_paths import remove_leftovers, temporary_path

LINK = "model.gguf"  # the file itself, or the first of a split model, in the folder of its small files
_made: dict[tuple[tuple[str, int, int], ...], Path] = {}


def make_folder(file: Path) -> Path:
    """Return a folder with the configuration and the tokenizer of a GGUF file, and a link to the file.

    The folder has the file's name. It is a temporary one, made once for a file, and removed when the process ends. A
    process that is killed leaves it behind, and the next process that makes one removes it. Any file of a split model
    stands for the whole model.

    Raises:
        CheckpointError: The file is damaged, of a family that is not read, or of a model that transformers would
            compute in another way.
        MissingExtraError: The gguf package or transformers is not installed.
    """
    header = read_model_header(file)
    first = parts_of(file)[0].absolute()
    key = tuple((str(part.absolute()), part.stat().st_size, part.stat().st_mtime_ns) for part in parts_of(file))
    if key in _made and _made[key].is_dir():
        return _made[key]
    check_architecture(header)
    check_values(header)
    gguf_package()
    folder = _make_home() / model_name(file)
    folder.mkdir()
    (folder / LINK).symlink_to(first)  # not to what it links to: in a hub's cache, only links have the parts' names
    config = make_config(header)
    (folder / "config.json").write_text(_config_text(config))
    notes = write_tokenizer(header, folder)
    (folder / MARK).write_text("\n".join(notes))
    _made[key] = folder
    return folder


def _make_home() -> Path:
    """Make a temporary folder of this process, and remove those that dead processes of this machine left."""
    place = Path(tempfile.gettempdir()) / "haloquant-gguf"
    remove_leftovers(place)
    home = temporary_path(place)
    home.mkdir(mode=0o700)
    atexit.register(_remove_home, home, os.getpid())
    return home


def _remove_home(home: Path, owner: int) -> None:
    """Remove the folder of this process; a forked child, which has another number, leaves it to its parent."""
    if os.getpid() == owner:
        shutil.rmtree(home, ignore_errors=True)


def read_tensors(folder: Path) -> tuple[dict[str, GgufTensor], tuple[str, ...]]:
    """Return the tensors of the GGUF file that `make_folder` made `folder` of, by their names in transformers.

    With them come sentences for the user, on their types and on the tokenizer.

    Raises:
        CheckpointError: The file is not a whole model of its configuration (`names.map_tensors`).
    """
    from transformers import AutoConfig

    header = read_model_header((folder / LINK).readlink())
    tensors = map_tensors(header, AutoConfig.from_pretrained(folder, local_files_only=True))
    return tensors, (*types_note(tensors.values()), *(folder / MARK).read_text().splitlines())


def _config_text(config: Any) -> str:
    """Return config.json with all values, so that it does not depend on the defaults of the version that reads it."""
    values = json.loads(config.to_json_string(use_diff=False))
    for name in ("_model_name_or_path", "_name_or_path"):  # the file's title, and a temporary folder
        values.pop(name, None)
    return json.dumps(values, indent=2, sort_keys=True) + "\n"
