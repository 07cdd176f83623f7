"""Write the result table of a machine command as one versioned JSON document and as one CSV file of the same rows."""

import csv
import dataclasses
import io
import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Protocol, runtime_checkable

import msgspec

from haloquant.accel.target import GpuTarget, Target
from haloquant.store.atomic_files import content_key

TABLE_VERSION = 1


@runtime_checkable
class Record(Protocol):
    """An instance of a dataclass."""

    __dataclass_fields__: ClassVar[dict[str, Any]]


Plain = float | int | str | bool
Row = Mapping[str, Plain]


class TableDocument(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The rows that one command computed for one model on one machine. The column names contain the units."""

    format: str  # "haloquant." and the name of the command
    version: int
    model: str
    profile: str
    target: str
    machine_hash: str  # hash of every number of the target as it was used
    rows: list[dict[str, Plain]]
    notes: list[str]


def table_document(
    question: str,
    model: str,
    profile: str,
    machine: Target | GpuTarget,
    rows: Sequence[Row],
    notes: Sequence[str] = (),
) -> TableDocument:
    """Return the document; `question` is the name of the command."""
    key = content_key(msgspec.to_builtins(machine, enc_hook=str))
    plain = [{name: _plain(value) for name, value in row.items()} for row in rows]
    return TableDocument(f"haloquant.{question}", TABLE_VERSION, model, profile, machine.name, key, plain, list(notes))


def table_json(made: TableDocument) -> bytes:
    """Return the document as indented JSON."""
    return msgspec.json.format(msgspec.json.encode(made), indent=1) + b"\n"


def table_csv(rows: Sequence[Row]) -> str:
    """Return the rows as CSV with a header line. A cell is empty if its row has no such column."""
    out = io.StringIO()
    names = list(dict.fromkeys(name for row in rows for name in row))
    writer = csv.DictWriter(out, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue()


def records_to_rows(records: Sequence[Record]) -> list[Row]:
    """Return dataclass records without nested fields as rows; the field names become the column names."""
    return [{field.name: getattr(record, field.name) for field in dataclasses.fields(record)} for record in records]


def _plain(value: Plain) -> Plain:
    """Write infinity as the text "inf", because JSON has no infinity."""
    return "inf" if isinstance(value, float) and math.isinf(value) else value
