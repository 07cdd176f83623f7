"""Tie what is kept on disk to the source code that made it: finished steps, parsed libraries, machine code of numba."""

from collections.abc import Iterable
from hashlib import sha256
from pathlib import Path
from types import ModuleType
from typing import Any

_HOME = Path(__file__).resolve().parent


def source_sha256(parts: Iterable[str], home: Path = _HOME) -> str:
    """Return the SHA-256 over the names and the text of Python files.

    Args:
        parts: folders (with all files below them) and files, relative to `home`.
        home: the folder of this package, or another.
    """
    digest = sha256()
    places = [home / part for part in parts]
    for file in sorted(file for place in places for file in (place.rglob("*.py") if place.is_dir() else [place])):
        text = file.read_bytes() if file.is_file() else b""  # an installation may hold compiled files only
        digest.update(f"{file.relative_to(home).as_posix()} {len(text)}\n".encode() + text)
    return digest.hexdigest()


def follow(kernel: Any, *modules: ModuleType) -> None:
    """Compile a kernel anew when the source of one of these modules has changed, not only when its own file has.

    Numba keeps machine code on disk until the kernel's own file changes. It does not look at other files, whose
    functions and constants are compiled into the kernel, and has no public way to name them. Where the attributes that
    are used here are absent, the kernel is compiled in every process instead.

    Args:
        kernel: a function compiled by `numba.njit(cache=True)`.
        modules: the modules whose functions or constants it contains.
    """
    texts = [Path(module.__file__).read_bytes() for module in modules if module.__file__ is not None]
    stored: Any = getattr(getattr(kernel, "_cache", None), "_cache_file", None)
    if hasattr(stored, "_source_stamp"):
        stored._source_stamp = (stored._source_stamp, [sha256(text).hexdigest() for text in texts])
        return
    from numba.core.caching import NullCache

    kernel._cache = NullCache()
