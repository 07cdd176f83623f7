"""Encode a parsed cell library as bytes and decode it: msgpack of plain values, all look-up tables in one block.

A record becomes the list of its fields, in order. A look-up table becomes its index in the block of tables. The decoder
knows from the types of the fields which record to build, so the bytes name no class.
"""

import types
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from functools import cache
from typing import Any, Union, get_args, get_origin, get_type_hints

import msgspec
import numpy as np
from jaxtyping import Float64, Int32

from haloquant.circuits.liberty.records import Library
from haloquant.circuits.liberty.table_interpolation import Table


class _Stored(msgspec.Struct):
    library: list[Any]
    axes: bytes  # all axes one after another, little-endian doubles
    axis_end: bytes  # index of the end of each axis in `axes`, 32-bit integers
    table_axes: bytes  # for each table the indices of its row axis and its column axis
    values: bytes


def encode_library(library: Library) -> bytes:
    """Return the library as bytes; `decode_library` gives back an equal one."""
    tables: list[Table] = []
    plain = _flatten(library, tables)
    number: dict[bytes, int] = {}
    table_axes = [number.setdefault(axis.tobytes(), len(number)) for t in tables for axis in (t.rows, t.columns)]
    values = [np.ascontiguousarray(t.values).ravel() for t in tables]
    return msgspec.msgpack.encode(
        _Stored(
            library=plain,
            axes=b"".join(number),
            axis_end=np.cumsum([len(axis) // 8 for axis in number]).astype("<i4").tobytes(),
            table_axes=np.array(table_axes, dtype="<i4").tobytes(),
            values=np.concatenate([np.zeros(0), *values]).astype("<f8").tobytes(),
        )
    )


def decode_library(packed: bytes) -> Library:
    """Return the library that `encode_library` wrote.

    Raises:
        ValueError, TypeError, IndexError, msgspec.MsgspecError: `encode_library` did not write these bytes.
    """
    stored = msgspec.msgpack.decode(packed, type=_Stored)
    axes = np.split(np.frombuffer(stored.axes, "<f8"), np.frombuffer(stored.axis_end, "<i4")[:-1])
    tables = _tables(axes, np.frombuffer(stored.table_axes, "<i4").reshape(-1, 2), np.frombuffer(stored.values, "<f8"))
    return _reader(Library)(stored.library, tables)


def _tables(
    axes: list[Float64[np.ndarray, " _"]], pairs: Int32[np.ndarray, "t 2"], values: Float64[np.ndarray, " v"]
) -> list[Table]:
    tables: list[Table] = []
    at = 0
    for row, column in pairs.tolist():
        rows, columns = axes[row], axes[column]
        end = at + len(rows) * len(columns)
        tables.append(Table(rows, columns, values[at:end].reshape(len(rows), len(columns))))
        at = end
    return tables


def _flatten(value: Any, tables: list[Table]) -> Any:
    if isinstance(value, Table):
        tables.append(value)
        return len(tables) - 1
    if is_dataclass(value):
        return [_flatten(getattr(value, field.name), tables) for field in fields(value)]
    if isinstance(value, tuple):
        return [_flatten(item, tables) for item in value]
    if isinstance(value, Mapping):
        return {key: _flatten(item, tables) for key, item in value.items()}
    return value


_Reader = Callable[[Any, list[Table]], Any]


@cache
def _reader(hint: Any) -> _Reader:
    """Return a function that builds a value of the type `hint` from a plain value and the list of tables."""
    if hint is Table:
        return lambda value, tables: tables[value]
    if isinstance(hint, type) and is_dataclass(hint):
        hints = get_type_hints(hint)
        readers = [_reader(hints[field.name]) for field in fields(hint)]
        return lambda value, tables: hint(*[read(v, tables) for read, v in zip(readers, value, strict=True)])
    origin, args = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        read = _reader(next(arg for arg in args if arg is not type(None)))
        return lambda value, tables: None if value is None else read(value, tables)
    if origin is tuple:
        item = _reader(args[0])  # every tuple in these records has items of one type
        return lambda value, tables: tuple([item(v, tables) for v in value])
    if origin is Mapping:
        item = _reader(args[1])
        return lambda value, tables: {key: item(v, tables) for key, v in value.items()}
    return lambda value, tables: value
