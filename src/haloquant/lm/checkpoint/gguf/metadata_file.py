"""Write the metadata of a GGUF file, without the data of its tensors, for the readers of transformers."""

import struct
from collections.abc import Callable
from pathlib import Path

from haloquant.lm.checkpoint.gguf.header import MAGIC, GgufHeader


def write_metadata(header: GgufHeader, file: Path, keep: Callable[[str], bool], tensors: bool = False) -> None:
    """Write a GGUF file with the metadata of `header` whose names `keep` accepts.

    Args:
        header: the header of a whole model.
        file: the file to write.
        keep: says for the name of an entry whether it is written.
        tensors: write the names of the tensors too. They all share one value then.
    """
    kept = [data for name, data in header.encoded.items() if keep(name)]
    names = [name.encode() for name in header.tensors] if tensors else []
    table = b"".join(struct.pack("<Q", len(name)) + name + struct.pack("<IQIQ", 1, 1, 0, 0) for name in names)
    head = MAGIC + struct.pack("<IQQ", header.version, len(names), len(kept)) + b"".join(kept) + table
    file.write_bytes(head + bytes(1 << 21))  # at least one alignment, and the one value that all tensors share
