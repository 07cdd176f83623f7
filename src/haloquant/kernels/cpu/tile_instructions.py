"""One tile times up to 16 tokens, as LLVM code: words in nibbles or in base 9, inputs in float32 or int8.

The code is made with the operations of one instruction set, so the same functions give the kernels for AVX2 and NEON.
A tile is read once: 512 bytes of codes or fewer are decoded for all tokens before the next are read. Products are added
in vectors. When eight sums are complete, their elements are added together, and eight results are scaled at a time.

`orders` says in which order the inputs must stand.
"""

# llvmlite has no type annotations:
# pyright: reportAttributeAccessIssue=false, reportArgumentType=false, reportOptionalMemberAccess=false
# pyright: reportReturnType=false, reportAssignmentType=false, reportCallIssue=false

from collections.abc import Callable
from functools import partial
from typing import Any, cast

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from haloquant.kernels.cpu.vector_operations import (
    FLOAT,
    HALF,
    I8,
    I16,
    I32,
    I64,
    Avx2,
    Operations,
    constant,
    loop,
    prefetch,
    vector,
)

AT_ONCE = 8  # sums of rows and tokens that are completed together
STEP = 2  # rows in nibbles whose sums are computed together; with more, registers do not hold all values
DIGITS = 5  # rows of a group in base 9
SPARE = AT_ONCE  # results behind the last row of a token, which kernels may write
TABLES = 48  # bytes of a codebook: words as int8, lower and upper bytes of the words in bfloat16


def chunk_inputs(layout: str, width: int) -> int:
    """Return how many inputs of a row are read at a time; `width` is the number of bytes in a vector."""
    return {"nibbles": 2 * width, "half_nibbles": width, "fives": width}[layout]


def input_bytes(operations: type[Operations]) -> int:
    """Return the bytes that an integer input takes, with its absolute value if there is one."""
    return 2 if operations.absolutes or operations.input_type is np.int16 else 1


def orders(layout: str, kind: str, operations: type[Operations]) -> np.ndarray:
    """Return the order of the inputs of a chunk: the input at each place.

    Args:
        layout: how the codes are stored and read.
        kind: `float` or `integer`.
        operations: those of the instruction set.
    """
    width = operations.width
    if layout == "nibbles":  # the low half of a byte holds an even input, the high half the next one
        vectors = [2 * np.arange(width), 2 * np.arange(width) + 1]
    elif layout == "half_nibbles":
        vectors = [np.concatenate([2 * np.arange(16), 2 * np.arange(16) + 1])]
    elif width == 32:  # `vpackuswb` takes eight from each of two vectors, twice
        vectors = [np.arange(32).reshape(2, 2, 8).swapaxes(0, 1).ravel()]
    else:
        vectors = [np.arange(width)]
    found = []
    for inputs in vectors:
        if kind == "float":  # bytes 0 2 4 6 of each 16, then 1 3 5 7, 8 10 12 14, 9 11 13 15
            found += list(inputs.reshape(-1, 2, 4, 2).transpose(1, 3, 0, 2).reshape(4, -1))
        elif operations.input_type is np.int16:  # even bytes, then odd bytes
            found += [inputs[0::2], inputs[1::2]]
        else:
            found.append(inputs)
    return np.concatenate(found)


class _Tile:
    """The code for one tile. All addresses and strides are 64-bit integers and count bytes."""

    def __init__(self, operations: Operations, layout: str, kind: str, args: list[ir.Value]) -> None:
        self.o, self.b = operations, operations.builder
        self.layout, self.kind = layout, kind
        self.codes, self.x, self.x_stride, table, self.scale, self.scale_stride = args[:6]
        self.y, self.y_stride, self.rows, self.cols, self.tokens = args[6:]
        self.words = [self.o.table(table, 16 * part) for part in ((1, 2) if kind == "float" else (0,))]
        self.chunk = chunk_inputs(layout, operations.width)
        self.sum_type = self.o.floats if kind == "float" else self.o.ints
        self.input_bytes = 4 if kind == "float" else input_bytes(type(operations))

    def number(self, value: int) -> ir.Constant:
        return ir.Constant(I64, value)

    def loop(self, count: ir.Value, start: list[ir.Value], body: Callable[..., list[ir.Value]]) -> list[ir.Value]:
        """Run `body(index, *carried)` `count` times. It returns the values that are carried to the next time."""
        return loop(self.b, count, start, body)

    def inputs(self, x: ir.Value, first: int, count: int) -> list[ir.Value]:
        """Load vectors of inputs from number `first` of a chunk on."""
        kind = self.o.floats if self.kind == "float" else self.o.bytes
        return [self.o.load(kind, x, (first + i) * self.o.width) for i in range(count)]

    def products(self, codes: list[ir.Value], x: list[ir.Value], sums: list[ir.Value]) -> list[ir.Value]:
        """Add words times inputs to the sums, one for each token; `codes` are vectors of bytes."""
        b, o = self.b, self.o
        if self.kind == "integer":
            each = self.input_bytes  # vectors of inputs to one of codes
            for i, some in enumerate(codes):
                words = o.lookup(self.words[0], some)
                sums = [o.dot(words, self.inputs(at, each * i, each), total) for at, total in zip(x, sums, strict=True)]
            return sums
        for i, some in enumerate(codes):
            words = o.words_as_float(self.words[0], self.words[1], some)
            found = []
            for at, total in zip(x, sums, strict=True):
                inputs = self.inputs(at, 4 * i, 4)
                if i % 2:  # a second chain of additions
                    other = b.fmul(words[0], inputs[0])
                    for word, value in zip(words[1:], inputs[1:], strict=True):
                        other = o.multiply_add(word, value, other)
                    total = b.fadd(total, other)
                else:
                    for word, value in zip(words, inputs, strict=True):
                        total = o.multiply_add(word, value, total)
                found.append(total)
            sums = found
        return sums

    def token(self, index: ir.Value, chunk: ir.Value, first: ir.Value) -> ir.Value:
        """Return the address of a chunk's inputs of token `first` + `index`."""
        b = self.b
        bytes_of_chunk = self.chunk * self.input_bytes
        place = b.add(b.mul(b.add(first, index), self.x_stride), b.mul(chunk, self.number(bytes_of_chunk)))
        return b.add(self.x, place)

    def finish(self, row: ir.Value, rows: list[ir.Value], first: ir.Value, sums: list[list[ir.Value]]) -> None:
        """Complete the sums [tokens][rows], and add scale times sum to the results from `row` on.

        `rows` are the rows whose scales are used. Every token has at least as many results as there are rows here.
        """
        b, o = self.b, self.o
        flat = [total for token in sums for total in token]
        flat += [ir.Constant(self.sum_type, None)] * (AT_ONCE - len(flat))
        results = o.totals(flat)
        eight = vector(FLOAT, AT_ONCE)
        if self.kind == "integer":
            if o.fraction_bits:
                results = b.ashr(results, constant(results.type, o.fraction_bits))
            results = b.sitofp(results, eight)
        halves = ir.Constant(vector(I16, AT_ONCE), [0] * AT_ONCE)
        for i, at in enumerate(rows):
            half = o.load(I16, b.add(self.scale, b.mul(at, self.scale_stride)))
            for token in range(len(sums)):
                halves = b.insert_element(halves, half, ir.Constant(I32, token * len(rows) + i))
        scale = b.fpext(b.bitcast(halves, vector(HALF, AT_ONCE)), eight)
        results = b.fmul(results, scale)
        each = AT_ONCE // len(sums)
        for token in range(len(sums)):
            place = b.add(b.mul(b.add(first, self.number(token)), self.y_stride), b.mul(row, self.number(4)))
            address = b.add(self.y, place)
            part = results
            if len(sums) > 1:
                places = [ir.Constant(I32, token * each + i) for i in range(each)]
                part = b.shuffle_vector(results, results, ir.Constant(vector(I32, each), [p.constant for p in places]))
            o.store(b.fadd(o.load(part.type, address), part), address)


def _nibble_rows(tile: _Tile, first_row: ir.Value, count: int, first: ir.Value, tokens: int) -> None:
    """Compute `count` rows from `first_row` on for some tokens. Rows behind the last are computed as the last."""
    b, o = tile.b, tile.o
    last = b.sub(tile.rows, tile.number(1))
    stride = b.lshr(tile.cols, tile.number(1))

    def bounded(row: ir.Value) -> ir.Value:
        return b.select(b.icmp_signed("<", row, tile.rows), row, last)

    def chunk(starts: list[ir.Value], index: ir.Value, *sums: ir.Value) -> list[ir.Value]:
        x = [tile.token(tile.number(t), index, first) for t in range(tokens)]
        found = []
        for i, start in enumerate(starts):
            at = b.add(start, b.mul(index, tile.number(tile.chunk // 2)))
            if tile.layout == "half_nibbles":
                codes = [cast(Avx2, o).half_nibbles(o.load(vector(I8, 16), at))]
            else:
                codes = o.nibbles(o.load(o.bytes, at))
            found.append(tile.products(codes, x, list(sums[i * tokens : (i + 1) * tokens])))
        return [total for row in found for total in row]

    zero = ir.Constant(tile.sum_type, None)
    chunks = b.udiv(tile.cols, tile.number(tile.chunk))
    some = STEP * tokens
    kept = cgutils.alloca_once(b, ir.ArrayType(tile.sum_type, count * tokens))

    def step(index: ir.Value) -> list[ir.Value]:
        """Compute a few rows, so few that registers hold their sums, and keep the sums."""
        starts = []
        for i in range(STEP):
            row = b.add(first_row, b.add(b.mul(index, tile.number(STEP)), tile.number(i)))
            starts.append(b.add(tile.codes, b.mul(bounded(row), stride)))
            prefetch(b, starts[-1])
        for i, total in enumerate(tile.loop(chunks, [zero] * some, partial(chunk, starts))):
            place = b.add(b.mul(index, tile.number(some)), tile.number(i))
            b.store(total, b.gep(kept, [tile.number(0), place], inbounds=True))
        return []

    tile.loop(tile.number(count // STEP), [], step)
    sums = [b.load(b.gep(kept, [tile.number(0), tile.number(i)], inbounds=True)) for i in range(count * tokens)]
    rows = [bounded(b.add(first_row, tile.number(i))) for i in range(count)]
    tile.finish(first_row, rows, first, [sums[t::tokens] for t in range(tokens)])


def _five_rows(tile: _Tile, group: ir.Value, first: ir.Value, tokens: int) -> None:
    """Compute the five rows of a group in base 9 for some tokens."""
    b, o = tile.b, tile.o
    start = b.add(tile.codes, b.mul(b.mul(group, tile.cols), tile.number(2)))

    def chunk(index: ir.Value, *sums: ir.Value) -> list[ir.Value]:
        x = [tile.token(tile.number(t), index, first) for t in range(tokens)]
        at = b.add(start, b.mul(index, tile.number(2 * tile.chunk)))
        prefetch(b, at)
        halves = [o.load(o.shorts, at, part * o.width) for part in (0, 1)]
        found = []
        for i in range(DIGITS):
            if i:
                halves = [o.rest(half) for half in halves]
            codes = o.pack(*(o.digit(half) for half in halves))
            found += tile.products([codes], x, list(sums[i * tokens : (i + 1) * tokens]))
        return found

    zero = ir.Constant(tile.sum_type, None)
    chunks = b.udiv(tile.cols, tile.number(tile.chunk))
    sums = tile.loop(chunks, [zero] * (DIGITS * tokens), chunk)
    row = b.mul(group, tile.number(DIGITS))
    rows = [b.add(row, tile.number(i)) for i in range(DIGITS)]
    for t in range(tokens):
        tile.finish(row, rows, b.add(first, tile.number(t)), [sums[t::tokens]])


def emit(operations: Operations, layout: str, kind: str, args: list[ir.Value]) -> None:
    """Write the code that adds scale[row] * products to the results of a tile.

    Args:
        operations: those of the instruction set, with the builder of the code.
        layout: `nibbles`, `half_nibbles` or `fives`.
        kind: `float` or `integer`.
        args: addresses and numbers, all 64-bit integers: the codes; inputs in the order that `orders` gives, and the
            bytes from one token to the next; the tables of words; scales, and the bytes from one row to the next;
            results in float32, and the bytes from one token to the next; rows (in base 9: groups of five), inputs and
            tokens. Up to `SPARE` results behind the last row are written, too: they keep their values or become
            meaningless.
    """
    tile = _Tile(operations, layout, kind, args)
    b = tile.b
    if layout == "fives":

        def group(index: ir.Value) -> list[ir.Value]:
            pairs = b.lshr(tile.tokens, tile.number(1))

            def two(pair: ir.Value) -> list[ir.Value]:
                _five_rows(tile, index, b.mul(pair, tile.number(2)), 2)
                return []

            def one(_: ir.Value) -> list[ir.Value]:
                _five_rows(tile, index, b.mul(pairs, tile.number(2)), 1)
                return []

            tile.loop(pairs, [], two)
            tile.loop(b.and_(tile.tokens, tile.number(1)), [], one)
            return []

        tile.loop(tile.rows, [], group)
        return

    def eight_rows(index: ir.Value) -> list[ir.Value]:
        row = b.mul(index, tile.number(AT_ONCE))
        fours = b.lshr(tile.tokens, tile.number(2))

        def four_tokens(four: ir.Value) -> list[ir.Value]:
            def two_rows(pair: ir.Value) -> list[ir.Value]:
                at = b.add(row, b.mul(pair, tile.number(2)))
                _nibble_rows(tile, at, 2, b.mul(four, tile.number(4)), 4)
                return []

            left = b.sub(tile.rows, row)
            pairs = b.lshr(b.add(left, tile.number(1)), tile.number(1))
            most = tile.number(AT_ONCE // 2)
            tile.loop(b.select(b.icmp_signed("<", pairs, most), pairs, most), [], two_rows)
            return []

        def one_token(token: ir.Value) -> list[ir.Value]:
            _nibble_rows(tile, row, AT_ONCE, b.add(b.mul(fours, tile.number(4)), token), 1)
            return []

        tile.loop(fours, [], four_tokens)
        tile.loop(b.and_(tile.tokens, tile.number(3)), [], one_token)
        return []

    groups = b.udiv(b.add(tile.rows, tile.number(AT_ONCE - 1)), tile.number(AT_ONCE))
    tile.loop(groups, [], eight_rows)


def kernel(layout: str, kind: str, operations: type[Operations]) -> Any:
    """Return an intrinsic of numba that takes what `emit` takes."""

    def typing(context, codes, x, x_stride, table, scale, scale_stride, y, y_stride, rows, cols, tokens):
        def code(context, builder, signature, args):
            emit(operations(builder), layout, kind, list(args))
            return context.get_dummy_value()

        return types.void(*[types.int64] * 11), code

    typing.__doc__ = f"Add the products of a tile in {layout} with {kind} inputs."
    typing.__name__ = typing.__qualname__ = f"{layout}_{kind}_{operations.__name__}"
    return intrinsic(typing)
