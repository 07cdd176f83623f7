"""The packed format of one layer: conversion of a layer in HALO form to named arrays, and back.

`bit_layout` describes how codes are stored in bytes.

| tensor | type, shape | holds |
|---|---|---|
| weight_packed | u8 [bytes] | codes, tile by tile |
| weight_scale | f16 [out, across] | scale of every (output channel, tile) |
| weight_tile_class | u8 [down, across] | index of each tile's codebook |
| weight_shape | i32 [2] or [3] | out, in; and an exponent e, if all scales are to be multiplied by 2^-e |
| weight_offset | f16 [out, across] | added to every weight of (output channel, tile); from version 3 on |
| input_threshold | f32 [1] | a token keeps the inputs x_j with abs(x_j) * input_norm_j above it; from version 4 on |
| input_norm | f16 [in] | norms of the weight's columns, over the largest |
| input_sparsity | f32 [1] | share of the inputs that the threshold left out of a calibration sample |
| sparse_row_count | u8, u16 or i32 [out] | sparse weights in each row; the smallest type that holds the largest count |
| sparse_col | u16 or i32 [nnz] | columns (i32 if in > 65536) |
| sparse_value | i8 [nnz] | values; the weight is value * scale of its row |
| sparse_scale | f16 [out] | scale of every row |
| sparse_kind | u8 [ceil(nnz / 8)] | bit i (lowest first) is 1 if weight i is salient, 0 if it is an outlier |

A layer has the three `input_*` tensors if its inputs are sparse (`quant.input_sparsity`), else none of them.
A layer has an exponent only if float16 does not hold its scales without it (weights of 10^-7). A layer without sparse
weights has no `sparse_*` tensors. Codebooks and tile sizes are stored once per model.
Version 1 of the format stored `sparse_row_ptr` i32 [out + 1], the running sums of the counts; it can still be read.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from haloquant.errors import FormatError
from haloquant.quant.float16 import LARGEST, MOST_EXPONENT
from haloquant.quant.format.bit_layout import count_wrong, decode, encode, tile_offsets
from haloquant.quant.format.input_masks import MASK_TENSORS, check_mask, mask_tensors
from haloquant.quant.tiles import classes_by_row
from haloquant.records import BitCount, Codebook, QuantizedWeight, SparseWeights, TileGrid, TileMap

# Tensors that every layer has.
DENSE = ("weight_packed", "weight_scale", "weight_tile_class", "weight_shape")
OFFSET = "weight_offset"
ROWS, ROWS_V1 = "sparse_row_count", "sparse_row_ptr"
_COUNT_TYPES = (np.uint8, np.uint16, np.int32)
# Tensors of layers with sparse weights, of all versions.
SPARSE = (ROWS, ROWS_V1, "sparse_col", "sparse_value", "sparse_scale", "sparse_kind")
OPTIONAL = (OFFSET, *MASK_TENSORS, *SPARSE)  # tensors that some layers have


@dataclass(frozen=True)
class PackedWeight:
    """One layer in packed form: its arrays (see the table above), its tile map, and the codebooks of the model."""

    layer: str
    tensors: Mapping[str, np.ndarray]
    tiles: TileMap
    codebooks: tuple[Codebook, ...]


def pack(q: QuantizedWeight) -> dict[str, np.ndarray]:
    """Return the named arrays of one layer (see the table above).

    Raises:
        FormatError: A code is not below its codebook's size, the scales and offsets are not float16 values times one
            power of two, or a sparse weight is outside the layer.
    """
    grid = q.tiles.grid
    exponent = common_exponent(q)
    factor = np.float32(2.0**exponent)
    sizes = sizes_of(q.codebooks)
    limit = np.array(sizes)[classes_by_row(q.tiles)]
    highest = np.maximum.reduceat(q.codes, np.arange(0, grid.in_features, grid.tile_in), axis=1)
    if np.any(highest >= limit):
        raise FormatError(f"codes of {q.layer} must be below the size of their tile's codebook, and some are not")
    tensors = {
        "weight_packed": encode(q.codes, q.tiles.codebook, sizes, grid),
        "weight_scale": _exact_float16(q.scale * factor, f"scales of {q.layer}"),
        "weight_tile_class": np.ascontiguousarray(q.tiles.codebook),
        "weight_shape": np.array([grid.out_features, grid.in_features, *([exponent] if exponent else [])], np.int32),
    }
    if q.offset is not None:
        tensors[OFFSET] = _exact_float16(q.offset * factor, f"offsets of {q.layer}")
    if q.sparse.values.size:
        tensors |= _pack_sparse(q.sparse, q.layer, grid, factor)
    return tensors


def unpack(
    tensors: Mapping[str, np.ndarray], layer: str, codebooks: tuple[Codebook, ...], tile_out: int, tile_in: int
) -> QuantizedWeight:
    """Return the layer that `pack` was given. The arrays are checked.

    Args:
        tensors: arrays named as in the table above, without a prefix.
        layer: name of the layer, in the result and in errors.
        codebooks: codebooks of the model, one for each class.
        tile_out: tile size along the outputs.
        tile_in: tile size along the inputs.

    Raises:
        FormatError: A tensor is missing, has the wrong type or shape, or holds values that `pack` cannot have written.
    """
    tiles = check_layer(tensors, layer, codebooks, tile_out, tile_in)
    codes, wrong = decode(tensors["weight_packed"], tiles.codebook, sizes_of(codebooks), tiles.grid)
    _refuse_wrong_codes(layer, wrong)
    factor = np.float32(2.0 ** -exponent_of(tensors["weight_shape"].tolist()))
    scale = tensors["weight_scale"].astype(np.float32) * factor
    offset = tensors[OFFSET].astype(np.float32) * factor if OFFSET in tensors else None
    return QuantizedWeight(layer, codes, scale, tiles, codebooks, _unpack_sparse(tensors, tiles.grid, factor), offset)


def packed_weight(
    tensors: Mapping[str, np.ndarray], layer: str, codebooks: tuple[Codebook, ...], tile_out: int, tile_in: int
) -> PackedWeight:
    """Return stored arrays as a packed layer, in the order in which `pack` gives them. Nothing is decoded.

    The arguments and the checks are those of `unpack`.

    Raises:
        FormatError: As `unpack`.
    """
    tiles = check_layer(tensors, layer, codebooks, tile_out, tile_in)
    wrong = count_wrong(tensors["weight_packed"], tiles.codebook, sizes_of(codebooks), tiles.grid)
    _refuse_wrong_codes(layer, wrong)
    ordered = {name: tensors[name] for name in (*DENSE, *OPTIONAL) if name in tensors}
    return PackedWeight(layer, ordered, tiles, codebooks)


def _refuse_wrong_codes(layer: str, wrong: int) -> None:
    """Raise a FormatError if codes are out of range."""
    if wrong:
        raise FormatError(
            f"codes of {layer} must be below the size of their tile's codebook, but {wrong} are out of range: the file "
            "is damaged"
        )


def check_layer(
    tensors: Mapping[str, np.ndarray], layer: str, codebooks: tuple[Codebook, ...], tile_out: int, tile_in: int
) -> TileMap:
    """Check all arrays of a layer except the codes (`bit_layout.count_wrong` checks these), and return the tile map.

    Raises:
        FormatError: As `unpack`.
    """
    given = tensors.get("weight_shape")
    length = 3 if given is not None and given.shape == (3,) else 2
    shape = _tensor(tensors, layer, "weight_shape", np.int32, (length,))
    if shape.min() < 1 or exponent_of(shape.tolist()) > MOST_EXPONENT:
        raise FormatError(
            f"weight_shape of {layer} must be two positive numbers and at most one exponent up to {MOST_EXPONENT}, not "
            f"{shape.tolist()}"
        )
    grid = TileGrid(int(shape[0]), int(shape[1]), tile_out, tile_in)
    classes = _tensor(tensors, layer, "weight_tile_class", np.uint8, (grid.down, grid.across))
    if classes.max() >= len(codebooks):
        raise FormatError(f"weight_tile_class of {layer} must name classes below {len(codebooks)}, not {classes.max()}")
    scale = _tensor(tensors, layer, "weight_scale", np.float16, (grid.out_features, grid.across))
    if not np.isfinite(scale).all():
        raise FormatError(f"weight_scale of {layer} must be finite, and is not: the file is damaged")
    if OFFSET in tensors and not np.isfinite(_tensor(tensors, layer, OFFSET, np.float16, scale.shape)).all():
        raise FormatError(f"{OFFSET} of {layer} must be finite, and is not: the file is damaged")
    if any(name in tensors for name in MASK_TENSORS):
        check_mask(layer, *(_tensor(tensors, layer, *part) for part in mask_tensors(grid.in_features)))
    length = int(tile_offsets(grid, classes, sizes_of(codebooks))[-1])
    _tensor(tensors, layer, "weight_packed", np.uint8, (length,))
    if any(name in tensors for name in SPARSE):
        _check_sparse(tensors, layer, grid)
    return TileMap(layer, grid, classes)


def packed_bits(tensors: Mapping[str, np.ndarray], codebooks: tuple[Codebook, ...]) -> BitCount:
    """Return the bits of the arrays as they are stored. Codebooks count one byte per word."""
    stored = {name: 8 * array.nbytes for name, array in tensors.items()}
    out_features, in_features = tensors["weight_shape"].tolist()[:2]
    return BitCount(
        weights=out_features * in_features,
        codes=stored["weight_packed"],
        scales=stored["weight_scale"] + sum(stored.get(name, 0) for name in (OFFSET, *MASK_TENSORS)),
        sparse=sum(stored.get(name, 0) for name in SPARSE),
        codebooks=stored["weight_tile_class"] + stored["weight_shape"] + 8 * sum(sizes_of(codebooks)),
    )


def sizes_of(codebooks: tuple[Codebook, ...]) -> tuple[int, ...]:
    """Return the number of words of each codebook."""
    return tuple(codebook.values.size for codebook in codebooks)


def exponent_of(shape: Sequence[int]) -> int:
    """Return the exponent e of a layer whose scales are the stored ones times 2^-e, by its `weight_shape`."""
    return shape[2] if len(shape) > 2 else 0


def common_exponent(q: QuantizedWeight) -> int:
    """Return the least exponent at which float16 holds all scales and offsets exactly, or 0 where there is none."""
    offsets = () if q.offset is None else (q.offset.reshape(-1),)
    scales = np.concatenate([q.scale.reshape(-1), q.sparse.scale, *offsets])
    for exponent in range(MOST_EXPONENT + 1):
        grown = scales * np.float32(2.0**exponent)
        if np.abs(grown).max() > LARGEST:
            break
        if np.array_equal(grown.astype(np.float16).astype(np.float32), grown):
            return exponent
    return 0


def _exact_float16(array: np.ndarray, what: str) -> np.ndarray:
    """Return the values as float16, or raise a FormatError if float16 does not hold them exactly."""
    with np.errstate(over="ignore"):
        half = array.astype(np.float16)
    if not np.array_equal(half.astype(np.float32), array):
        raise FormatError(f"{what} must be float16 values, and some are not")
    return half


def _pack_sparse(sparse: SparseWeights, layer: str, grid: TileGrid, factor: np.float32) -> dict[str, np.ndarray]:
    """Return the tensors of the sparse part, with its scales multiplied by `factor`."""
    order = sparse.rows.astype(np.int64) * grid.in_features + sparse.cols
    inside = sparse.cols.min() >= 0 and sparse.cols.max() < grid.in_features and sparse.rows.min() >= 0
    if not inside or sparse.rows.max() >= grid.out_features or np.any(np.diff(order) <= 0):
        raise FormatError(f"sparse weights of {layer} must lie within the layer, sorted by row, then column")
    counts = np.bincount(sparse.rows, minlength=grid.out_features)
    return {
        ROWS: counts.astype(count_type(int(counts.max()))),
        "sparse_col": sparse.cols.astype(_column_type(grid)),
        "sparse_value": np.ascontiguousarray(sparse.values),
        "sparse_scale": _exact_float16(sparse.scale * factor, f"sparse scales of {layer}"),
        "sparse_kind": np.packbits(sparse.kind.astype(bool), bitorder="little"),
    }


def count_type(largest: int) -> type[np.generic]:
    """Return the type that stores the number of sparse weights per row, by the largest number."""
    return next(kind for kind in _COUNT_TYPES if largest <= np.iinfo(kind).max)


def _column_type(grid: TileGrid) -> type[np.generic]:
    """Return the type of the columns."""
    return np.uint16 if grid.in_features <= 65536 else np.int32


def _tensor(
    tensors: Mapping[str, np.ndarray], layer: str, name: str, dtype: type[np.generic], shape: tuple[int, ...]
) -> np.ndarray:
    """Return a tensor after checking that it exists and has this type and shape."""
    if name not in tensors:
        raise FormatError(f"{layer} must have a tensor {name}, and it is missing: the file is damaged")
    array = tensors[name]
    if array.dtype != dtype or array.shape != shape:
        raise FormatError(
            f"{name} of {layer} must be {np.dtype(dtype).name} of shape {shape}, not {array.dtype.name} of shape "
            f"{array.shape}"
        )
    return array


def _check_sparse(tensors: Mapping[str, np.ndarray], layer: str, grid: TileGrid) -> None:
    """Check the tensors of the sparse part."""
    counts = _check_counts(tensors, layer, grid)
    count = int(counts.sum())
    cols = _tensor(tensors, layer, "sparse_col", _column_type(grid), (count,)).astype(np.int64)
    _tensor(tensors, layer, "sparse_value", np.int8, (count,))
    scale = _tensor(tensors, layer, "sparse_scale", np.float16, (grid.out_features,))
    kind = _tensor(tensors, layer, "sparse_kind", np.uint8, (-(-count // 8),))
    rows = np.repeat(np.arange(grid.out_features), counts)
    outside = count and (cols.min() < 0 or cols.max() >= grid.in_features)
    if outside or np.any(np.diff(rows * grid.in_features + cols) <= 0):
        raise FormatError(
            f"sparse_col of {layer} must ascend within each row and stay below {grid.in_features}, and does not: the "
            "file is damaged"
        )
    if not np.isfinite(scale).all() or (count % 8 and kind[-1] >> (count % 8)):
        raise FormatError(f"sparse_scale and sparse_kind of {layer} must be finite and unpadded: the file is damaged")


def _check_counts(tensors: Mapping[str, np.ndarray], layer: str, grid: TileGrid) -> np.ndarray:
    """Return the sparse weights per row, i64 [out], from the tensor of either version."""
    if ROWS_V1 in tensors:
        if ROWS in tensors:
            raise FormatError(f"{layer} must have one of {ROWS} and {ROWS_V1}, not both: the file is damaged")
        pointers = _tensor(tensors, layer, ROWS_V1, np.int32, (grid.out_features + 1,)).astype(np.int64)
        if pointers[0] != 0 or np.any(np.diff(pointers) < 0):
            raise FormatError(f"{ROWS_V1} of {layer} must ascend from 0, and does not: the file is damaged")
        counts = np.diff(pointers)
    else:
        kind = next((kind for kind in _COUNT_TYPES if ROWS in tensors and tensors[ROWS].dtype == kind), np.uint8)
        counts = _tensor(tensors, layer, ROWS, kind, (grid.out_features,)).astype(np.int64)
    if counts.min() < 0 or counts.max() > grid.in_features:
        raise FormatError(
            f"sparse weights per row of {layer} must be between 0 and {grid.in_features}, not {counts.min()} to "
            f"{counts.max()}: the file is damaged"
        )
    return counts


def _unpack_sparse(tensors: Mapping[str, np.ndarray], grid: TileGrid, factor: np.float32) -> SparseWeights:
    """Return the sparse part with its scales multiplied by `factor`; empty if there are no tensors."""
    if "sparse_value" not in tensors:
        empty = np.empty(0, np.int32)
        scale = np.zeros(grid.out_features, np.float32)
        return SparseWeights(empty, empty, np.empty(0, np.int8), scale, np.empty(0, np.uint8))
    values = tensors["sparse_value"]
    counts = tensors[ROWS] if ROWS in tensors else np.diff(tensors[ROWS_V1])
    rows = np.repeat(np.arange(grid.out_features, dtype=np.int32), counts.astype(np.int64))
    return SparseWeights(
        rows,
        tensors["sparse_col"].astype(np.int32),
        values,
        tensors["sparse_scale"].astype(np.float32) * factor,
        np.unpackbits(tensors["sparse_kind"], count=values.size, bitorder="little"),
    )
