"""Recognize what tools leave in place of a large file: a pointer of Git LFS, or the web page of a refused download."""

from pathlib import PurePath

_POINTER = b"version https://git-lfs.github.com/"
_PAGES = (b"<!doctype html", b"<html")
BEGINNING = len(_POINTER)  # bytes of a file that show what it is


def stand_in(path: PurePath, beginning: bytes) -> str | None:
    """Return a sentence if a file begins as one that stands for another, and None if not.

    Args:
        path: the file, for the sentence.
        beginning: its first bytes, at least `BEGINNING` of them if the file has so many.
    """
    if is_pointer(beginning):
        return (
            f"{path} is a pointer of Git LFS and not the file itself, as a clone without git-lfs leaves it; "
            "run `git lfs pull` in that folder"
        )
    if beginning.lstrip().lower().startswith(_PAGES):
        return (
            f"{path} is a web page and not the file itself, as a download without permission leaves it; download the "
            "file again"
        )
    return None


def is_pointer(beginning: bytes) -> bool:
    """Return whether a file with this beginning is a pointer of Git LFS."""
    return beginning.startswith(_POINTER)
