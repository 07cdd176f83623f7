"""Read a design in Verilog from its files, with the files that these include, as one text."""

import re
from collections.abc import Sequence
from pathlib import Path

from haloquant.errors import InputError
from haloquant.store.atomic_files import read_bounded

MAX_RTL = 1 << 24  # bytes of a file, and of all files together
_MAX_DEPTH, _MOST_FILES = 8, 64  # of files that include each other
_INCLUDE = re.compile(r'^[ \t]*`include[ \t]+"([^"\n]+)"', re.MULTILINE)


def read_verilog(files: Sequence[Path], include: Sequence[Path] = ()) -> str:
    """Return the text of Verilog files, one after another, with the files in them that they include.

    Args:
        files: The files, in the order in which Verilog reads them: packages and macros before their use.
        include: Folders in which an included file is looked for, after the folder of the file that includes it.

    Raises:
        InputError: A file or folder does not exist, a file is too large, or included from elsewhere, or there are too
            many.
    """
    if not files:
        raise InputError("a design must have at least one Verilog file")
    if len(set(files)) < len(files):
        raise InputError(f"each Verilog file must be given once, not {next(f for f in files if files.count(f) > 1)}")
    for folder in include:
        if not folder.is_dir():
            raise InputError(f"the folder of included files must exist: {folder}")
    read: list[Path] = []
    folders = [folder.resolve() for folder in include]
    texts = [_with_included(file, [file.parent.resolve(), *folders], folders, read) for file in files]
    if sum(map(len, texts)) > MAX_RTL:
        raise InputError(f"a design must have at most {MAX_RTL} characters with its included files")
    return "\n".join(texts)


def _with_included(verilog: Path, allowed: list[Path], include: list[Path], read: list[Path], depth: int = 0) -> str:
    """Return the text of a Verilog file with the files in it that it includes.

    Args:
        verilog: The file.
        allowed: What is included must be in one of these folders or below it.
        include: Where an included file is looked for if it is not beside the file that includes it.
        read: The files that were read; each file that is read is added.
        depth: How many files include this one, one within another.

    Raises:
        InputError: A file does not exist, is too large or elsewhere, or there are too many.
    """
    if depth > _MAX_DEPTH or len(read) >= _MOST_FILES:
        raise InputError(
            f"Verilog files must include each other at most {_MAX_DEPTH} deep and {_MOST_FILES} times, but {verilog} "
            "goes beyond"
        )
    if depth and not any(verilog.resolve().is_relative_to(folder) for folder in allowed):
        places = " or ".join(str(folder) for folder in allowed)
        raise InputError(f"an included file must be in {places} or a folder below it, not {verilog}")
    read.append(verilog)
    text = read_bounded(verilog, MAX_RTL).decode("utf-8", "replace").removeprefix("\ufeff")

    def included(found: re.Match[str]) -> str:
        beside = verilog.parent / found[1]
        places = [beside, *(folder / found[1] for folder in include)]
        there = next((place for place in places if place.is_file()), beside)
        return _with_included(there, allowed, include, read, depth + 1)

    return _INCLUDE.sub(included, text)
