"""Read and write measured costs of products as JSON (`haloquant measure-ops`)."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import msgspec

from haloquant.errors import MALFORMED, InputError
from haloquant.records.operator_costs import Mix, OperatorRow, OperatorTable, repeated_row
from haloquant.store.atomic_files import read_bounded, write_bytes

FORMAT = 1
MAX_BYTES = 1 << 24
Positive = Annotated[float, msgspec.Meta(gt=0.0, le=1e15)]
Count = Annotated[int, msgspec.Meta(ge=1, le=1 << 40)]


class _Row(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    out_features: Count
    in_features: Count
    mix: Mix
    batch: Count
    median_s: Positive
    least_s: Positive
    most_s: Positive
    energy_j: Positive | None
    read_b: Count


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    format: int
    model: str
    device: str
    threads: Count
    tile: Count
    sparse_share: Annotated[float, msgspec.Meta(ge=0.0, le=1.0)]
    repeats: Count
    energy_source: str
    rows: Annotated[tuple[_Row, ...], msgspec.Meta(min_length=1)]


def write_operator_table(path: Path, table: OperatorTable) -> None:
    """Write a table; the file appears whole or not at all."""
    write_bytes(path, msgspec.json.format(encode_operator_table(table), indent=1))


def encode_operator_table(table: OperatorTable) -> bytes:
    """Return a table as JSON."""
    return msgspec.json.encode({"format": FORMAT} | asdict(table))


def read_operator_table(path: Path) -> OperatorTable:
    """Return the table in a file.

    Raises:
        InputError: The file is missing, too large or not JSON, a key is unknown or missing, a value is not allowed, or
            a product is there twice.
    """
    data = read_bounded(path, MAX_BYTES)
    try:
        found = msgspec.json.decode(data, type=_File)
    except MALFORMED as error:
        raise InputError(f"{path} must be a table that `haloquant measure-ops` wrote: {error}") from error
    if found.format != FORMAT:
        raise InputError(f"format of {path} must be {FORMAT}, not {found.format}; this file is of another version")
    rows = tuple(
        OperatorRow(
            row.out_features, row.in_features, row.mix, row.batch, row.median_s, row.least_s, row.most_s, row.energy_j,
            row.read_b,
        )
        for row in found.rows
    )  # fmt: skip
    if (twice := repeated_row(rows)) is not None:
        raise InputError(
            f"{path} must hold each product once, and that of {twice.out_features} x {twice.in_features} weights, "
            f"{twice.mix} words and batch {twice.batch} is there twice"
        )
    return OperatorTable(
        found.model, found.device, found.threads, found.tile, found.sparse_share, found.repeats, found.energy_source,
        rows,
    )  # fmt: skip
