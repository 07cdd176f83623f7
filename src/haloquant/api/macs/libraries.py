"""Cell libraries that are distributed in several files."""

import gzip
from collections.abc import Sequence
from pathlib import Path

from haloquant.api.arguments import path_text, path_texts
from haloquant.circuits.liberty.merging import merge_libraries
from haloquant.circuits.liberty.parser import parse_liberty
from haloquant.circuits.liberty.records import Library
from haloquant.errors import InputError
from haloquant.store.atomic_files import write_bytes
from haloquant.store.cell_libraries import liberty_text


def merge_liberty(files: Sequence[str | Path], out: str | Path) -> Library:
    """Write one Liberty file with the cells of several files of one library at one corner.

    Args:
        files: The files (.lib, .lib.gz). The header of the first is taken; those of the others must state the same
            units, thresholds, defaults and supply.
        out: The file to write; gzip if it ends in .gz. It must not exist.

    Returns:
        The library that was written.

    Raises:
        InputError: A file does not exist, or `out` does.
        LibertyError: The files cannot be put together. (An InputError.)

    Example:
        ```python
        from haloquant.api import merge_liberty

        library = merge_liberty(["SIMPLE.lib.gz", "INVBUF.lib.gz", "SEQ.lib.gz"], "asap7_tt.lib.gz")
        print(len(library.cells))
        ```
    """
    target = Path(path_text("out", out))
    if target.exists():
        raise InputError(f"out must be a new file, but {target} exists")
    paths = [Path(file) for file in path_texts("files", files)]
    text = merge_libraries([(path.name, liberty_text(path)) for path in paths])
    merged = parse_liberty(text, target.name)
    data = text.encode()
    write_bytes(target, gzip.compress(data, mtime=0) if target.suffix == ".gz" else data)
    return merged
