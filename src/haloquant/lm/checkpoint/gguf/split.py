"""Models that are split into several GGUF files: NAME-00001-of-00003.gguf and so on.

The first file holds the metadata of the model. Every file has its own table of tensors and its own data, and says which
part of how many it is.
"""

import re
from dataclasses import replace
from pathlib import Path

from haloquant.errors import CheckpointError
from haloquant.lm.checkpoint.gguf.header import PART, PARTS, PARTS_TENSORS, GgufEntry, GgufHeader, read_gguf_header

MARK = ".made-from-gguf"  # a file of the folders that `folder` makes of a GGUF file
_PART = re.compile(r"(.+)-(\d{5})-of-(\d{5})(\.gguf)", re.IGNORECASE)


def parts_of(file: Path) -> tuple[Path, ...]:
    """Return the files of the model that a GGUF file belongs to, in order, by its name; of a whole model, the file."""
    match = _PART.fullmatch(file.name)
    if match is None or not 0 < int(match[2]) <= int(match[3]):
        return (file,)
    name, _, count, suffix = match.groups()
    return tuple(file.with_name(f"{name}-{number:05}-of-{count}{suffix}") for number in range(1, int(count) + 1))


def model_name(file: Path) -> str:
    """Return the name of the model of a GGUF file: the name of the file without its part and its suffix."""
    match = _PART.fullmatch(file.name)
    if match is None:
        return file.stem if file.suffix.lower() == ".gguf" else file.name
    return match[1]


def read_model_header(file: Path) -> GgufHeader:
    """Return the header of a model in GGUF; its tensors may lie in several files.

    Args:
        file: the file of a whole model, or any file of a split one. The others must stand beside it.

    Raises:
        CheckpointError: A file is missing or damaged (`header.read_gguf_header`), or the files do not belong together.
    """
    files = parts_of(file)
    absent = [part.name for part in files if not part.exists()]
    if absent and file.exists():
        named = ", ".join(absent[:3]) + (f" and {len(absent) - 3} more" if len(absent) > 3 else "")
        raise CheckpointError(
            f"{file} is one of {len(files)} files of a model, and all must be in one folder, but {named} is missing; "
            "download it into that folder"
        )
    headers = [read_gguf_header(part) for part in files]
    tensors: dict[str, GgufEntry] = {}
    for number, header in enumerate(headers):
        _check_part(header, number, len(files))
        twice = next((name for name in header.tensors if name in tensors), None)
        if twice is not None:
            raise CheckpointError(f"{header.file} must hold other tensors than the parts before it, but holds {twice}")
        tensors |= header.tensors
    total = headers[0].metadata.get(PARTS_TENSORS, len(tensors))
    if total != len(tensors):
        raise CheckpointError(
            f"{headers[0].file} and its other parts must hold {total} tensors together, but hold {len(tensors)}; they "
            "are of different models"
        )
    return replace(headers[0], tensors=tensors)


def _check_part(header: GgufHeader, number: int, count: int) -> None:
    """Refuse a file that says it is another part than its name says."""
    said = header.metadata.get(PART, 0), header.metadata.get(PARTS, 1)
    if said == (number, count) or (number == 0 and said[1] in (0, 1) and count == 1):
        return
    part, parts = (value if isinstance(value, int) else 0 for value in said)
    raise CheckpointError(
        f"{header.file} must be part {number + 1} of {count} by its name, but its header says part {part + 1} of "
        f"{parts}; name it ...-{part + 1:05}-of-{parts:05}.gguf, as it was called when it was made"
    )
