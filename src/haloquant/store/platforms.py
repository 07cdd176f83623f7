"""Read measured platforms from TOML files; `data/platforms/*.toml` come with the package.

Read and write measured costs of products as JSON (`haloquant measure-ops`).
"""

from dataclasses import asdict
from importlib import resources
from pathlib import Path
from typing import Annotated

import msgspec

from haloquant.accel.platforms import Platform, PlatformRow, repeated_row
from haloquant.accel.target import Status
from haloquant.errors import MALFORMED, InputError, TargetError
from haloquant.records.operator_costs import Mix, OperatorRow, OperatorTable
from haloquant.records.operator_costs import repeated_row as repeated_operator
from haloquant.store.atomic_files import read_bounded, write_bytes

FORMAT = 1
MAX_BYTES = 1 << 20
Positive = Annotated[float, msgspec.Meta(gt=0.0, le=1e30)]
TABLE_FORMAT = 1
MAX_TABLE_BYTES = 1 << 24
Measured = Annotated[float, msgspec.Meta(gt=0.0, le=1e15)]
Count = Annotated[int, msgspec.Meta(ge=1, le=1 << 40)]


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
    raw = read_bounded(path, MAX_BYTES, "a platform must be a file", TargetError)
    try:
        return parse_platform(raw)
    except TargetError as error:
        raise TargetError(f"{path}: {error}") from error


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


class _OperatorRow(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    out_features: Count
    in_features: Count
    mix: Mix
    batch: Count
    median_s: Measured
    least_s: Measured
    most_s: Measured
    energy_j: Measured | None
    read_b: Count


class _OperatorFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    format: int
    model: str
    device: str
    threads: Count
    tile: Count
    sparse_share: Annotated[float, msgspec.Meta(ge=0.0, le=1.0)]
    repeats: Count
    energy_source: str
    rows: Annotated[tuple[_OperatorRow, ...], msgspec.Meta(min_length=1)]


def write_operator_table(path: Path, table: OperatorTable) -> None:
    """Write a table; the file appears whole or not at all."""
    write_bytes(path, msgspec.json.format(encode_operator_table(table), indent=1))


def encode_operator_table(table: OperatorTable) -> bytes:
    """Return a table as JSON."""
    return msgspec.json.encode({"format": TABLE_FORMAT} | asdict(table))


def read_operator_table(path: Path) -> OperatorTable:
    """Return the table in a file.

    Raises:
        InputError: The file is missing, too large or not JSON, a key is unknown or missing, a value is not allowed, or
            a product is there twice.
    """
    data = read_bounded(path, MAX_TABLE_BYTES)
    try:
        found = msgspec.json.decode(data, type=_OperatorFile)
    except MALFORMED as error:
        raise InputError(f"{path} must be a table that `haloquant measure-ops` wrote: {error}") from error
    if found.format != TABLE_FORMAT:
        raise InputError(
            f"format of {path} must be {TABLE_FORMAT}, not {found.format}; this file is of another version"
        )
    rows = tuple(
        OperatorRow(
            row.out_features, row.in_features, row.mix, row.batch, row.median_s, row.least_s, row.most_s, row.energy_j,
            row.read_b,
        )
        for row in found.rows
    )  # fmt: skip
    if (twice := repeated_operator(rows)) is not None:
        raise InputError(
            f"{path} must hold each product once, and that of {twice.out_features} x {twice.in_features} weights, "
            f"{twice.mix} words and batch {twice.batch} is there twice"
        )
    return OperatorTable(
        found.model, found.device, found.threads, found.tile, found.sparse_share, found.repeats, found.energy_source,
        rows,
    )  # fmt: skip
