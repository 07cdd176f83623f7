"""Records of the addresses of arrays, for compiled code that goes through all layers of a model in one call.

Each array that Python hands to compiled code costs a tenth of a microsecond, and the layers of a model have thousands.
So their addresses stand in records, which numba reads. Whoever calls the compiled code keeps the arrays alive.
"""

# llvmlite has no type annotations, and numba lists few of its names:
# pyright: reportAttributeAccessIssue=false, reportArgumentType=false, reportPrivateImportUsage=false

from dataclasses import dataclass
from typing import no_type_check

import numpy as np
from numba import carray, njit, types
from numba.core import cgutils
from numba.extending import intrinsic

from haloquant.kernels.cpu.tile_products import tables_of_words, wide_codebooks
from haloquant.kernels.layer_tensors import PackedLayer, half_bits

DENSE_ROWS = 64  # rows of a layer without tiles that a thread takes at a time
FLOAT32, BFLOAT16, INT8 = 1, 2, 3  # kinds of stored numbers; 0 where there are none

NUMBERS = np.dtype([("at", np.int64), ("kind", np.int64)])  # an array of numbers of one kind
_PACKED = ("packed", "scale", "classes", "offsets", "table", "sizes", "tables", "wide")
_COUNTS = ("out", "inputs", "tile_out", "tile_in", "books", "words", "values")
_SPARSE = ("row_ptr", "row", "col", "value", "sparse_scale")
LAYER = np.dtype(
    [(name, np.int64) for name in (*_PACKED, *_SPARSE, "tile_offset")]  # addresses; 0 where there is none
    + [(name, np.int64) for name in _COUNTS]
    + [("some_wide", np.bool_), ("rounded", np.bool_), ("factor", np.float32)]
    + [(name, NUMBERS) for name in ("weight", "weight_scale", "bias")]  # the first two of a layer that is not packed
)


@dataclass(frozen=True)
class StoredArrays:
    """Records, and the arrays that they point at."""

    records: np.ndarray
    arrays: tuple[np.ndarray, ...]


def numbers(array: np.ndarray | None) -> np.ndarray:
    """Return the record of an array of float32, of bits of bfloat16 (uint16) or of int8, `NUMBERS` [].

    Raises:
        ValueError: Its numbers do not stand one behind the other in memory.
    """
    if array is None:
        return np.zeros((), NUMBERS)
    if not array.flags.c_contiguous:
        raise ValueError(f"an array must stand in memory without gaps, not with strides {array.strides}")
    kind = {"float32": FLOAT32, "uint16": BFLOAT16, "int8": INT8}[array.dtype.name]
    return np.array((array.ctypes.data, kind), NUMBERS)


def packed_record(layer: PackedLayer, bias: np.ndarray | None, rounded: bool) -> StoredArrays | None:
    """Return the record of a packed layer, `LAYER` [].

    Args:
        layer: on the CPU. It keeps what is derived from it.
        bias: float32 or bits of bfloat16 [out], without gaps in memory.
        rounded: whether inputs are rounded to 8 bits, with one scale for each token.

    Returns:
        None if its sparse part has more columns than 16 bits count, or its tensors have gaps in memory.
    """
    if "record" not in layer.records:
        layer.records["record"] = _record_of(layer)
    found: StoredArrays | None = layer.records["record"]
    if found is None:
        return None
    record = found.records.copy()
    record["rounded"], record["bias"] = rounded, numbers(bias)
    return StoredArrays(record, (*found.arrays, *([] if bias is None else [bias])))


def _record_of(layer: PackedLayer) -> StoredArrays | None:
    *dense, (tile_out, tile_in), sparse = layer.arrays
    table, sizes = dense[4], dense[5]
    row, col = sparse[1], sparse[2]
    if row.dtype != np.uint16 or col.dtype != np.uint16:
        return None
    arrays = dict(zip(_PACKED, (*dense, tables_of_words(table), wide_codebooks(table, sizes)), strict=True))
    arrays |= dict(zip(_SPARSE, sparse, strict=True))
    if layer.tile_offset is not None:
        arrays["tile_offset"] = half_bits(layer.tile_offset)
    record = np.zeros((), LAYER)
    for name, array in arrays.items():
        if not array.flags.c_contiguous:
            return None
        record[name] = array.ctypes.data
    counts = (layer.grid.out_features, layer.grid.in_features, tile_out, tile_in, *table.shape, sparse[3].size)
    for name, count in zip(_COUNTS, counts, strict=True):
        record[name] = count
    record["some_wide"], record["factor"] = arrays["wide"].any(), 2.0**-layer.exponent
    return StoredArrays(record, tuple(arrays.values()))


def dense_record(weight: np.ndarray, bias: np.ndarray | None) -> StoredArrays:
    """Return the record of a layer with its weights as they are, `LAYER` [].

    Args:
        weight: float32 or bits of bfloat16, [out, in], row by row in memory.
        bias: the same kinds, [out], without gaps in memory.
    """
    record = np.zeros((), LAYER)
    record["out"], record["inputs"] = weight.shape
    record["tile_out"] = DENSE_ROWS
    record["weight"], record["bias"] = numbers(weight), numbers(bias)
    return StoredArrays(record, (weight, *([] if bias is None else [bias])))


def rounded_record(codes: np.ndarray, scale: np.ndarray, bias: np.ndarray | None) -> StoredArrays:
    """Return the record of a layer with weights scale * codes, `LAYER` [].

    Args:
        codes: int8 [out, in], row by row in memory.
        scale: f32 [out].
        bias: as for `dense_record`.
    """
    stored = dense_record(codes, bias)
    stored.records["weight_scale"] = numbers(scale)
    return StoredArrays(stored.records, (*stored.arrays, scale))


@intrinsic
def _pointer(_context, address):
    """Return an address as a pointer."""

    def code(_context, builder, _signature, args):
        return builder.inttoptr(args[0], cgutils.voidptr_t)

    return types.voidptr(types.int64), code


@njit
@no_type_check
def array_at(address, shape, kind):
    """Return the array of a shape and a type of numpy at an address. It keeps nothing alive."""
    return carray(_pointer(address), shape, kind)
