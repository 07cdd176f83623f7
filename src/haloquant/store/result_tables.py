"""Answers about machines as files: one versioned JSON document and one CSV table of the same rows."""

import csv
import dataclasses
import io
import math
from collections.abc import Mapping, Sequence

import msgspec

from haloquant.accel.target import GpuTarget, Target
from haloquant.store.atomic_files import content_key

ANSWER_VERSION = 1

Plain = float | int | str | bool
Row = Mapping[str, Plain]


class Answer(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Rows that answer one question about one model on one machine. Units stand in the rows' names."""

    format: str  # "haloquant." and the question
    version: int
    model: str
    profile: str
    target: str
    machine_hash: str  # of every figure of the target as it was used
    rows: list[dict[str, Plain]]
    notes: list[str]


def answer(
    question: str,
    model: str,
    profile: str,
    machine: Target | GpuTarget,
    rows: Sequence[Row],
    notes: Sequence[str] = (),
) -> Answer:
    """Return the document of an answer."""
    key = content_key(msgspec.to_builtins(machine, enc_hook=str))
    plain = [{name: _plain(value) for name, value in row.items()} for row in rows]
    return Answer(f"haloquant.{question}", ANSWER_VERSION, model, profile, machine.name, key, plain, list(notes))


def answer_json(made: Answer) -> bytes:
    """Return the document as indented JSON."""
    return msgspec.json.format(msgspec.json.encode(made), indent=1) + b"\n"


def rows_csv(rows: Sequence[Row]) -> str:
    """Return the rows as a table with a line of names; an empty cell where a row lacks a name."""
    out = io.StringIO()
    names = list(dict.fromkeys(name for row in rows for name in row))
    writer = csv.DictWriter(out, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue()


def as_rows(records: Sequence[object]) -> list[Row]:
    """Return flat frozen records as rows."""
    return [
        {field.name: getattr(record, field.name) for field in dataclasses.fields(record)}  # pyright: ignore[reportArgumentType]
        for record in records
    ]


def _plain(value: Plain) -> Plain:
    """JSON knows no infinity."""
    return "inf" if isinstance(value, float) and math.isinf(value) else value
