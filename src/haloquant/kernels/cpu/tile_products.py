"""Products of a packed layer with up to 16 tokens in one pass over the codes.

Each thread takes a row of tiles, so packed bytes are read once and in order. Tiles use the vector code of
`tile_instructions` where the CPU has AVX2 or NEON and where their inputs fill its vectors: tiles of 128, 64 and 32
inputs do. Other tiles, parts of tiles at the border, and codebooks of more than 16 words use `plain_loops`, with which
the tests compare the vector code.
"""

from typing import no_type_check

import numpy as np
from numba import njit, prange

from haloquant.kernels.cpu import instruction_set, plain_loops, tile_instructions, vector_operations
from haloquant.kernels.cpu.instruction_set import INSTRUCTION_SET
from haloquant.kernels.cpu.plain_loops import add_sparse, add_sparse_integers, tile_in_loops
from haloquant.kernels.cpu.tile_instructions import SPARE, TABLES, chunk_inputs, input_bytes, kernel, orders
from haloquant.kernels.cpu.vector_operations import OPERATIONS, Avx2, Avx2Wide
from haloquant.source_code import follow

MOST_TOKENS = 16  # in one pass over the codes
MOST_INTEGER_INPUTS = 256  # of a tile: AVX2 holds 2^8 times its sum in 32 bits
VECTORS = INSTRUCTION_SET in OPERATIONS

_OPERATIONS, _WIDE = OPERATIONS.get(INSTRUCTION_SET, (Avx2, Avx2Wide))
_LOWEST_WORD = _OPERATIONS.lowest_word
CHUNK = chunk_inputs("nibbles", _OPERATIONS.width)
_HALVES = 32  # inputs of a chunk of `half_nibbles`
_LAYOUTS = ("nibbles", "half_nibbles" if CHUNK > _HALVES else "nibbles", "fives")
_FLOAT_ORDERS = tuple(orders(layout, "float", _OPERATIONS) for layout in _LAYOUTS)
_ORDERS = tuple(orders(layout, "integer", _OPERATIONS) for layout in _LAYOUTS)
_WIDE_ORDERS = tuple(orders(layout, "integer", _WIDE) for layout in _LAYOUTS)
_INPUT_BYTES, _WIDE_BYTES = input_bytes(_OPERATIONS), input_bytes(_WIDE)
WIDE_TYPE = _WIDE.input_type
_ABSOLUTES = _OPERATIONS.width if _OPERATIONS.absolutes else 0  # inputs before their absolute values


@njit(cache=True)
@no_type_check
def tables_of_words(table):
    """Return what the vector code takes of each codebook, in bytes [classes, 48]: int8, bfloat16 in two bytes."""
    found = np.zeros((table.shape[0], TABLES), np.uint8)
    for k in range(table.shape[0]):
        for i in range(16):
            bits = np.float32(table[k, i]).view(np.uint32)
            found[k, i] = np.uint8(np.int64(table[k, i]) & 255)
            found[k, 16 + i] = np.uint8((bits >> np.uint32(16)) & np.uint32(255))
            found[k, 32 + i] = np.uint8(bits >> np.uint32(24))
    return found


@njit
@no_type_check
def _arrange(x, order, out):
    """Write each chunk of inputs [tokens, in] to `out` [tokens, in or more] in an order."""
    for t in range(x.shape[0]):
        for first in range(0, x.shape[1] - order.size + 1, order.size):
            for place in range(order.size):
                out[t, first + place] = x[t, first + order[place]]


@njit
@no_type_check
def _arrange_with_absolutes(x, order, out):
    """Do the same with int8 inputs; behind each vector of inputs stand their absolute values, as unsigned bytes."""
    for t in range(x.shape[0]):
        for first in range(0, x.shape[1] - order.size + 1, order.size):
            for place in range(order.size):
                value = x[t, first + order[place]]
                at = 2 * first + place + place // _ABSOLUTES * _ABSOLUTES
                out[t, at] = value
                out[t, at + _ABSOLUTES] = np.int8(-value if value < 0 else value)


@njit
@no_type_check
def vector_chunk(tile_in):
    """Return how many inputs the vector code reads at a time of tiles with `tile_in` inputs; 0 if it cannot be used."""
    if VECTORS:
        if tile_in % CHUNK == 0:
            return CHUNK
        if tile_in % _HALVES == 0:
            return _HALVES
    return 0


def _tile_function(kind, operations):
    """Return the function that adds a tile's products to `total` with vector code."""
    nibbles, halves, fives = (kernel(layout, kind, operations) for layout in _LAYOUTS)

    @njit
    @no_type_check
    def tile(
        at, x, x_fives, x_stride, table, size, scale, scale_stride, total, total_stride, rows, cols, whole, tokens
    ):
        """Do what `tile_instructions.emit` does; `whole` says that the inputs fill chunks, not only halves."""
        groups = rows // 5 if size <= 9 else 0
        if groups:
            fives(at, x_fives, x_stride, table, scale, scale_stride, total, total_stride, groups, cols, tokens)
        at += groups * 2 * cols
        scale += 5 * groups * scale_stride
        total += 5 * groups * 4
        left = rows - 5 * groups
        if whole:
            nibbles(at, x, x_stride, table, scale, scale_stride, total, total_stride, left, cols, tokens)
        else:
            halves(at, x, x_stride, table, scale, scale_stride, total, total_stride, left, cols, tokens)

    return tile


if VECTORS:
    float_tile, _integer_tile = _tile_function("float", _OPERATIONS), _tile_function("integer", _OPERATIONS)
    _wide_tile = _tile_function("integer", _WIDE) if _WIDE is not _OPERATIONS else _integer_tile
else:  # the vector code cannot be compiled for other CPUs

    @njit
    @no_type_check
    def float_tile(
        at, x, x_fives, x_stride, table, size, scale, scale_stride, total, total_stride, rows, cols, whole, tokens
    ):
        """Do nothing; this is never called, since `vector_chunk` is 0 on this CPU."""

    _integer_tile = _wide_tile = float_tile


@njit(cache=True)
@no_type_check
def round_tokens(x, steps):
    """Return tokens [tokens, in] rounded to int8, and the scale of each in float32, as `fallback.round_tokens` does.

    `steps` is 1 / the largest code of each token, float32.
    """
    codes = np.zeros(x.shape, np.int8)
    scale = np.ones(x.shape[0], np.float32)
    for t in range(x.shape[0]):
        top = np.float32(0)
        for i in range(x.shape[1]):
            size = abs(x[t, i])
            if not (size <= top or np.isnan(top)):  # a NaN takes its place and stays
                top = size
        if not top < np.inf:
            scale[t] = np.nan
        elif top > 0:
            step = max(top * steps[t], np.finfo(np.float32).tiny)
            scale[t] = step
            for i in range(x.shape[1]):
                codes[t, i] = np.int8(np.rint(x[t, i] / step))
    return codes, scale


@njit
@no_type_check
def float_inputs(x, tile_in, vectors):
    """Return the chunk that the vector code reads (0: plain loops), and tokens [tokens, in] in its two orders."""
    chunk = vector_chunk(tile_in) if vectors else 0
    x_codes = np.empty(x.shape, np.float32)
    x_fives = np.empty(x.shape, np.float32)
    if chunk:
        _arrange(x, _FLOAT_ORDERS[0] if chunk == CHUNK else _FLOAT_ORDERS[1], x_codes)
        _arrange(x, _FLOAT_ORDERS[2], x_fives)
    return chunk, x_codes, x_fives


@njit
@no_type_check
def float_row(
    d, x, chunk, x_codes, x_fives, tables, packed, scale, classes, offsets, table, sizes, tile_out, tile_in,
    row_ptr, row, col, value, sparse_scale, y,
):  # fmt: skip
    """Write the products of row `d` of tiles to y[tokens, out], from what `float_inputs` and `float_products` say."""
    across = classes.shape[1]
    tokens = x.shape[0]
    low = d * tile_out
    rows = min(tile_out, y.shape[1] - low)
    total = np.zeros((tokens, rows + SPARE), np.float32)
    for a in range(across):
        k = classes[d, a]
        first = a * tile_in
        cols = min(tile_in, x.shape[1] - first)
        at = offsets[d * across + a]
        if chunk and cols % chunk == 0 and sizes[k] <= 16:
            float_tile(
                packed.ctypes.data + at,
                x_codes.ctypes.data + 4 * first,
                x_fives.ctypes.data + 4 * first,
                4 * x.shape[1],
                tables.ctypes.data + k * TABLES,
                sizes[k],
                scale.ctypes.data + 2 * (low * across + a),
                2 * across,
                total.ctypes.data,
                4 * total.shape[1],
                rows,
                cols,
                chunk == CHUNK,
                tokens,
            )
        else:
            for t in range(tokens):
                tile_in_loops(
                    packed, at, x[t, first:], table[k], sizes[k], scale[low : low + rows, a], rows, cols, total[t]
                )
    for t in range(tokens):
        y[t, low : low + rows] = total[t, :rows]
        if value.size:
            add_sparse(low, row_ptr, row, col, value, sparse_scale, x[t], y[t, low : low + rows])


@njit(parallel=True, cache=True)
@no_type_check
def float_products(x, packed, scale, classes, offsets, table, sizes, tiles, sparse, vectors, y):
    """Compute y[tokens, out] = x[tokens, in] W^T in float32.

    `scale` is [out, across] as float16 bits, `tiles` is (tile_out, tile_in), `sparse` is (row_ptr, row, col, value,
    scale bits), and `vectors` allows vector code. The other arguments are the fields of `PackedLayer`.
    """
    tile_out, tile_in = tiles
    row_ptr, row, col, value, sparse_scale = sparse
    tables = tables_of_words(table)
    chunk, x_codes, x_fives = float_inputs(x, tile_in, vectors)
    for block in prange(classes.shape[0]):
        float_row(
            np.int64(block), x, chunk, x_codes, x_fives, tables, packed, scale, classes, offsets, table, sizes,
            tile_out, tile_in, row_ptr, row, col, value, sparse_scale, y,
        )  # fmt: skip


@njit(cache=True)
@no_type_check
def wide_codebooks(table, sizes):
    """Return which codebooks have a word that the faster code of integers does not multiply, bool [classes]."""
    wide = np.empty(table.shape[0], np.bool_)
    for k in range(table.shape[0]):
        wide[k] = sizes[k] <= 16 and table[k, : sizes[k]].min() < _LOWEST_WORD
    return wide


@njit
@no_type_check
def integer_inputs(x, tile_in, vectors, some_wide):
    """Return the chunk that the vector code reads (0: plain loops), and tokens int8 [tokens, in] in its orders.

    The last two arrays are for the codebooks of `wide_codebooks`; they are empty if there is none.
    """
    tokens = x.shape[0]
    chunk = vector_chunk(tile_in) if vectors and tile_in <= MOST_INTEGER_INPUTS else 0
    stored = x.shape[1] if chunk else 0
    x_codes = np.empty((tokens, stored * _INPUT_BYTES), np.int8)
    x_fives = np.empty_like(x_codes)
    if chunk:
        codes_order = _ORDERS[0] if chunk == CHUNK else _ORDERS[1]
        if _ABSOLUTES:
            _arrange_with_absolutes(x, codes_order, x_codes)
            _arrange_with_absolutes(x, _ORDERS[2], x_fives)
        else:
            _arrange(x, codes_order, x_codes)
            _arrange(x, _ORDERS[2], x_fives)
    stored = stored if some_wide else 0
    wide_codes = np.empty((tokens, stored), WIDE_TYPE)
    wide_fives = np.empty_like(wide_codes)
    if stored:
        _arrange(x, _WIDE_ORDERS[0] if chunk == CHUNK else _WIDE_ORDERS[1], wide_codes)
        _arrange(x, _WIDE_ORDERS[2], wide_fives)
    return chunk, x_codes, x_fives, wide_codes, wide_fives


@njit
@no_type_check
def integer_row(
    d, x, chunk, x_codes, x_fives, wide_codes, wide_fives, tables, wide, packed, scale, classes, offsets, table,
    sizes, tile_out, tile_in, row_ptr, row, col, value, sparse_scale, y,
):  # fmt: skip
    """Write the products of row `d` of tiles to y[tokens, out], from what `integer_inputs` says."""
    across = classes.shape[1]
    tokens = x.shape[0]
    low = d * tile_out
    rows = min(tile_out, y.shape[1] - low)
    total = np.zeros((tokens, rows + SPARE), np.float32)
    for a in range(across):
        k = classes[d, a]
        first = a * tile_in
        cols = min(tile_in, x.shape[1] - first)
        at = offsets[d * across + a]
        if chunk and cols % chunk == 0 and sizes[k] <= 16:
            codes_at, scale_at = packed.ctypes.data + at, scale.ctypes.data + 2 * (low * across + a)
            table_at, total_at = tables.ctypes.data + k * TABLES, total.ctypes.data
            stride, whole = 4 * total.shape[1], chunk == CHUNK
            if wide[k]:
                _wide_tile(
                    codes_at,
                    wide_codes.ctypes.data + _WIDE_BYTES * first,
                    wide_fives.ctypes.data + _WIDE_BYTES * first,
                    _WIDE_BYTES * x.shape[1],
                    table_at,
                    sizes[k],
                    scale_at,
                    2 * across,
                    total_at,
                    stride,
                    rows,
                    cols,
                    whole,
                    tokens,
                )
            else:
                _integer_tile(
                    codes_at,
                    x_codes.ctypes.data + _INPUT_BYTES * first,
                    x_fives.ctypes.data + _INPUT_BYTES * first,
                    _INPUT_BYTES * x.shape[1],
                    table_at,
                    sizes[k],
                    scale_at,
                    2 * across,
                    total_at,
                    stride,
                    rows,
                    cols,
                    whole,
                    tokens,
                )
        else:
            for t in range(tokens):
                floats = x[t, first : first + cols].astype(np.float32)
                tile_in_loops(packed, at, floats, table[k], sizes[k], scale[low : low + rows, a], rows, cols, total[t])
    for t in range(tokens):
        y[t, low : low + rows] = total[t, :rows]
        if value.size:
            add_sparse_integers(low, row_ptr, row, col, value, sparse_scale, x[t], y[t, low : low + rows])


@njit(parallel=True, cache=True)
@no_type_check
def integer_products(x, packed, scale, classes, offsets, table, sizes, tiles, sparse, vectors, y):
    """Compute the products in the accelerator's arithmetic: each tile's sum is completed, scaled, and added in order.

    The arguments are those of `float_products`, but `x` is int8. The caller ensures that a tile's sum is below 2^24.
    So float32 holds every partial sum of the plain loops exactly, and the order of additions does not matter.
    """
    tile_out, tile_in = tiles
    row_ptr, row, col, value, sparse_scale = sparse
    tables, wide = tables_of_words(table), wide_codebooks(table, sizes)
    chunk, x_codes, x_fives, wide_codes, wide_fives = integer_inputs(x, tile_in, vectors, wide.any())
    for block in prange(classes.shape[0]):
        integer_row(
            np.int64(block), x, chunk, x_codes, x_fives, wide_codes, wide_fives, tables, wide, packed, scale, classes,
            offsets, table, sizes, tile_out, tile_in, row_ptr, row, col, value, sparse_scale, y,
        )  # fmt: skip


for _kernel in (tables_of_words, wide_codebooks, float_products, integer_products):
    follow(_kernel, plain_loops, instruction_set, tile_instructions, vector_operations)
