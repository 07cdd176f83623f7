"""The products of one token with several layers that have the same inputs.

Layers are `LAYER` records of `stored_arrays`. Their products are those of `gemv` and `tile_products`, and their inputs
are rounded and arranged once for all of them.
"""

from collections.abc import Callable
from typing import no_type_check

import numpy as np
from numba import njit, prange

from haloquant.kernels.cpu import (
    decoder_parts,
    gemv,
    instruction_set,
    integer_instructions,
    plain_loops,
    stored_arrays,
    tile_instructions,
    tile_products,
    vector_instructions,
    vector_operations,
)
from haloquant.kernels.cpu.decoder_parts import VECTORIZED, add_bias, widened
from haloquant.kernels.cpu.gemv import (
    FAST,
    FAST_INTEGERS,
    WIDTH,
    gemv_inputs,
    gemv_row,
    integer_gemv_inputs,
    integer_gemv_row,
)
from haloquant.kernels.cpu.plain_loops import half
from haloquant.kernels.cpu.stored_arrays import BFLOAT16, FLOAT32, INT8, LAYER, array_at
from haloquant.kernels.cpu.tile_instructions import TABLES
from haloquant.kernels.cpu.tile_products import (
    float_inputs,
    float_row,
    integer_inputs,
    integer_row,
    round_tokens,
)
from haloquant.source_code import follow

_EIGHT_BITS = np.full(1, 1 / 127, np.float32)


@njit(fastmath=VECTORIZED)
@no_type_check
def _dense_rows(weight, x, y):
    """Write weight [rows, in] times x [in] to y."""
    for r in range(y.size):
        total = np.float32(0)
        for i in range(x.size):
            total += widened(weight[r, i]) * x[i]
        y[r] = total


@njit(fastmath=VECTORIZED)
@no_type_check
def _rounded_rows(codes, x, y):
    """Write codes [rows, in] times x [in] to y."""
    for r in range(y.size):
        total = np.float32(0)
        for i in range(x.size):
            total += np.float32(codes[r, i]) * x[i]
        y[r] = total


@njit
@no_type_check
def _tile_sums(x, tile_in):
    """Return the sums of the inputs of each tile."""
    sums = np.zeros(-(-x.size // tile_in), np.float32)
    for i in range(x.size):
        sums[i // tile_in] += np.float32(x[i])
    return sums


@njit
@no_type_check
def _order(layers):
    """Return the number of the first row of tiles of each layer, and the place of its first result; one more behind."""
    first_row = np.zeros(layers.size + 1, np.int64)
    place = np.zeros(layers.size + 1, np.int64)
    for k in range(layers.size):
        first_row[k + 1] = first_row[k] - (-layers[k].out // layers[k].tile_out)
        place[k + 1] = place[k] + layers[k].out
    return first_row, place


@njit
@no_type_check
def _layer_of(first_row, at):
    """Return the number of the layer that has row `at` of all rows of tiles."""
    k = 0
    while first_row[k + 1] <= at:
        k += 1
    return k


@njit
@no_type_check
def _tile_in(layers):
    """Return the tiles' inputs of the packed layers; 0 if there is none."""
    found = 0
    for k in range(layers.size):
        found = max(found, layers[k].tile_in)
    return found


@njit
@no_type_check
def _sums_for_offsets(layers, x):
    """Return the sums of the inputs of each tile; nothing if no layer has offsets."""
    for k in range(layers.size):
        if layers[k].tile_offset:
            return _tile_sums(x, layers[k].tile_in)
    return np.empty(0, np.float32)


@njit
@no_type_check
def _arrays(layer):
    """Return the arrays of a packed layer's tiles, in the order of the kernels' arguments."""
    across = -(-layer.inputs // layer.tile_in)
    down = -(-layer.out // layer.tile_out)
    return (
        array_at(layer.tables, (layer.books, TABLES), np.uint8),
        array_at(layer.packed, (1,), np.uint8),
        array_at(layer.scale, (layer.out, across), np.uint16),
        array_at(layer.classes, (down, across), np.uint8),
        array_at(layer.offsets, (down * across + 1,), np.int64),
        array_at(layer.table, (layer.books, layer.words), np.float32),
        array_at(layer.sizes, (layer.books,), np.int64),
    )


@njit
@no_type_check
def _sparse_arrays(layer):
    """Return the arrays of its sparse part, in the order of the kernels' arguments."""
    return (
        array_at(layer.row_ptr, (layer.out + 1,), np.int32),
        array_at(layer.row, (layer.values,), np.uint16),
        array_at(layer.col, (layer.values,), np.uint16),
        array_at(layer.value, (layer.values,), np.int8),
        array_at(layer.sparse_scale, (layer.out,), np.uint16),
    )


@njit
@no_type_check
def _dense_row(layer, d, x, y):
    """Write row `d` of the blocks of rows of a layer without tiles to y[out]."""
    low = d * layer.tile_out
    high = min(low + layer.tile_out, layer.out)
    shape = (layer.out, layer.inputs)
    part = y[low:high]
    if layer.weight.kind == FLOAT32:
        _dense_rows(array_at(layer.weight.at, shape, np.float32)[low:high], x, part)
    elif layer.weight.kind == BFLOAT16:
        _dense_rows(array_at(layer.weight.at, shape, np.uint16)[low:high], x, part)
    elif layer.weight.kind == INT8:
        _rounded_rows(array_at(layer.weight.at, shape, np.int8)[low:high], x, part)
        factors = array_at(layer.weight_scale.at, (layer.out,), np.float32)[low:high]
        for r in range(part.size):
            part[r] *= factors[r]
    _add_bias(layer, low, part)


@njit
@no_type_check
def _add_bias(layer, low, part):
    """Add the bias of a layer to its results from row `low` on."""
    if layer.bias.kind == FLOAT32:
        add_bias(part, array_at(layer.bias.at, (layer.out,), np.float32)[low : low + part.size])
    elif layer.bias.kind == BFLOAT16:
        add_bias(part, array_at(layer.bias.at, (layer.out,), np.uint16)[low : low + part.size])


@njit
@no_type_check
def _complete(layer, d, sums, token_scale, y):
    """Add the offsets of tiles to the products of row `d` of tiles, multiply with the scales, and add the bias."""
    low = d * layer.tile_out
    part = y[low : min(low + layer.tile_out, layer.out)]
    if layer.tile_offset:
        offset = array_at(layer.tile_offset, (layer.out, sums.size), np.uint16)
        for r in range(part.size):
            for a in range(sums.size):
                part[r] += half(offset[low + r, a]) * sums[a]
    for r in range(part.size):
        part[r] = part[r] * token_scale * layer.factor
    _add_bias(layer, low, part)


# Each of these has the code of one kind of product, which takes seconds to compile. All have the same arguments:
#     x: f32 [in].
#     records: address of `LAYER` records [count] of layers with `in` inputs. All that are packed have the same tiles.
#         (Numba takes ten microseconds to find the type of an array of records that Python gives it.)
#     count: number of layers.
#     y: f32 [sum of the layers' outputs]: W x + b of the layers, one behind the other.


@njit(parallel=True, cache=True)
@no_type_check
def dense_products(x, records, count, y):
    """Multiply layers that are not packed."""
    layers = array_at(records, (count,), LAYER)
    first_row, place = _order(layers)
    for each in prange(first_row[count]):
        at = np.int64(each)
        k = _layer_of(first_row, at)
        _dense_row(layers[k], at - first_row[k], x, y[place[k] : place[k + 1]])


@njit(parallel=True, cache=True)
@no_type_check
def float_products(x, records, count, y):
    """Multiply packed layers that take their inputs as they are, and others, with the code of `tile_products`."""
    layers = array_at(records, (count,), LAYER)
    first_row, place = _order(layers)
    given = x.reshape(1, x.size)
    chunk, x_codes, x_fives = float_inputs(given, max(_tile_in(layers), 1), True)
    sums = _sums_for_offsets(layers, x)
    for each in prange(first_row[count]):
        at = np.int64(each)
        k = _layer_of(first_row, at)
        layer, d, part = layers[k], at - first_row[k], y[place[k] : place[k + 1]]
        if layer.tile_in:
            tables, packed, scale, classes, offsets, table, sizes = _arrays(layer)
            row_ptr, row, col, value, sparse_scale = _sparse_arrays(layer)
            float_row(
                d, given, chunk, x_codes, x_fives, tables, packed, scale, classes, offsets, table, sizes,
                layer.tile_out, layer.tile_in, row_ptr, row, col, value, sparse_scale, part.reshape(1, part.size),
            )  # fmt: skip
            _complete(layer, d, sums, np.float32(1), part)
        else:
            _dense_row(layer, d, x, part)


@njit(parallel=True, cache=True)
@no_type_check
def integer_products(x, records, count, y):
    """Multiply packed layers that round their inputs, and others, with the code of `tile_products`."""
    layers = array_at(records, (count,), LAYER)
    first_row, place = _order(layers)
    codes, token_scale = round_tokens(x.reshape(1, x.size), _EIGHT_BITS)
    some_wide = False
    for k in range(count):
        some_wide |= layers[k].some_wide
    chunk, x_codes, x_fives, wide_codes, wide_fives = integer_inputs(codes, max(_tile_in(layers), 1), True, some_wide)
    sums = _sums_for_offsets(layers, codes[0])
    for each in prange(first_row[count]):
        at = np.int64(each)
        k = _layer_of(first_row, at)
        layer, d, part = layers[k], at - first_row[k], y[place[k] : place[k + 1]]
        if layer.tile_in:
            tables, packed, scale, classes, offsets, table, sizes = _arrays(layer)
            row_ptr, row, col, value, sparse_scale = _sparse_arrays(layer)
            wide = array_at(layer.wide, (layer.books,), np.bool_)
            integer_row(
                d, codes, chunk, x_codes, x_fives, wide_codes, wide_fives, tables, wide, packed, scale, classes,
                offsets, table, sizes, layer.tile_out, layer.tile_in, row_ptr, row, col, value, sparse_scale,
                part.reshape(1, part.size),
            )  # fmt: skip
            _complete(layer, d, sums, token_scale[0], part)
        else:
            _dense_row(layer, d, x, part)


@njit(parallel=True, cache=True)
@no_type_check
def float_products_of_128(x, records, count, y):
    """Do what `float_products` does, in tiles of 128 inputs on a CPU with AVX-512, with the code of `gemv`."""
    layers = array_at(records, (count,), LAYER)
    first_row, place = _order(layers)
    nibbles, fives, chunk, rest_codes, rest_fives = gemv_inputs(x)
    sums = _sums_for_offsets(layers, x)
    for each in prange(first_row[count]):
        at = np.int64(each)
        k = _layer_of(first_row, at)
        layer, d, part = layers[k], at - first_row[k], y[place[k] : place[k + 1]]
        if layer.tile_in:
            tables, packed, scale, classes, offsets, table, sizes = _arrays(layer)
            row_ptr, row, col, value, sparse_scale = _sparse_arrays(layer)
            gemv_row(
                d, x, nibbles, fives, chunk, rest_codes, rest_fives, tables, packed, scale, classes, offsets, table,
                sizes, layer.tile_out, row_ptr, row, col, value, sparse_scale, part,
            )  # fmt: skip
            _complete(layer, d, sums, np.float32(1), part)
        else:
            _dense_row(layer, d, x, part)


@njit(parallel=True, cache=True)
@no_type_check
def integer_products_of_128(x, records, count, y):
    """Do what `integer_products` does, in tiles of 128 inputs on a CPU with AVX-512 and VNNI."""
    layers = array_at(records, (count,), LAYER)
    first_row, place = _order(layers)
    rounded, token_scale = round_tokens(x.reshape(1, x.size), _EIGHT_BITS)
    codes = rounded[0]
    nibbles, fives = integer_gemv_inputs(codes)
    sums = _sums_for_offsets(layers, codes)
    for each in prange(first_row[count]):
        at = np.int64(each)
        k = _layer_of(first_row, at)
        layer, d, part = layers[k], at - first_row[k], y[place[k] : place[k + 1]]
        if layer.tile_in:
            tables, packed, scale, classes, offsets, table, sizes = _arrays(layer)
            row_ptr, row, col, value, sparse_scale = _sparse_arrays(layer)
            integer_gemv_row(
                d, codes, nibbles, fives, tables, packed, scale, classes, offsets, table, sizes, layer.tile_out,
                row_ptr, row, col, value, sparse_scale, part,
            )  # fmt: skip
            _complete(layer, d, sums, token_scale[0], part)
        else:
            _dense_row(layer, d, x, part)


def products_of(records: np.ndarray) -> Callable[[np.ndarray, int, int, np.ndarray], None] | None:
    """Return the function that multiplies one token with layers.

    Args:
        records: `LAYER` [layers]; all have the same inputs.

    Returns:
        None if some of the packed layers round their inputs and others do not, or their tiles differ.
    """
    packed = records[records["tile_in"] > 0]
    if not packed.size:
        return dense_products
    if np.unique(packed["tile_in"]).size > 1 or np.unique(packed["rounded"]).size > 1:
        return None
    whole = packed["tile_in"][0] == WIDTH
    if packed["rounded"][0]:
        return integer_products_of_128 if FAST_INTEGERS and whole else integer_products
    return float_products_of_128 if FAST and whole else float_products


for _kernel in (dense_products, float_products, integer_products, float_products_of_128, integer_products_of_128):
    follow(
        _kernel,
        decoder_parts,
        gemv,
        instruction_set,
        integer_instructions,
        plain_loops,
        stored_arrays,
        tile_instructions,
        tile_products,
        vector_instructions,
        vector_operations,
    )
