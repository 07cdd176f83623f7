"""Read measured platforms from TOML files; `data/platforms/*.toml` come with the package."""

from importlib import resources
from pathlib import Path
from typing import Annotated

import msgspec

from haloquant.accel.platforms import Platform, PlatformRow, repeated_row
from haloquant.accel.target import Status
from haloquant.errors import MALFORMED, TargetError

FORMAT = 1
MAX_BYTES = 1 << 20
Positive = Annotated[float, msgspec.Meta(gt=0.0, le=1e30)]


class _Row(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    model: str
    format: str
    read_b: Positive
    tok_s: Positive
    tok_per_j: Positive | None = None


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    format: int
    name: str
    device: str
    bandwidth_b_per_s: Positive
    memory_b: Positive
    reference: str
    source: str
    status: Status
    rows: Annotated[tuple[_Row, ...], msgspec.Meta(min_length=1)]


def shipped_platforms() -> tuple[str, ...]:
    """Return the names of the platforms that come with the package."""
    folder = resources.files("haloquant") / "data" / "platforms"
    return tuple(sorted(item.name[:-5] for item in folder.iterdir() if item.name.endswith(".toml")))


def read_platform(name_or_path: str | Path) -> Platform:
    """Return a shipped platform by its name, or the platform that a TOML file describes.

    Raises:
        TargetError: There is no such platform, or the file is malformed.
    """
    text = str(name_or_path)
    if not text.endswith(".toml"):
        if text not in shipped_platforms():
            raise TargetError(
                f"platform must be one of {', '.join(shipped_platforms())} or the path of a .toml file, not {text!r}"
            )
        return parse_platform((resources.files("haloquant") / "data" / "platforms" / f"{text}.toml").read_bytes())
    path = Path(name_or_path)
    if not path.is_file():
        raise TargetError(f"platform file must exist, and {path} does not")
    if path.stat().st_size > MAX_BYTES:
        raise TargetError(f"platform file must be at most {MAX_BYTES} bytes, not {path.stat().st_size} ({path})")
    return parse_platform(path.read_bytes())


def parse_platform(raw: bytes) -> Platform:
    """Return the platform that the bytes of a TOML file describe.

    Raises:
        TargetError: The bytes are not TOML, a key is unknown or missing, a value is not allowed, or a model is there
            twice in one format.
    """
    try:
        found = msgspec.toml.decode(raw, type=_File)
    except MALFORMED as error:
        raise TargetError(f"platform file must hold a platform in TOML: {error}") from error
    if found.format != FORMAT:
        raise TargetError(f"format must be {FORMAT}, not {found.format}; this file is of another version")
    rows = tuple(PlatformRow(row.model, row.format, row.read_b, row.tok_s, row.tok_per_j) for row in found.rows)
    if (twice := repeated_row(rows)) is not None:
        raise TargetError(f"rows must name each model once in a format, and {twice[0]} in {twice[1]} is there twice")
    return Platform(
        found.name, found.device, found.bandwidth_b_per_s, found.memory_b, found.reference, found.source,
        found.status, rows,
    )  # fmt: skip
