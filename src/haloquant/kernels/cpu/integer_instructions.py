"""AVX-512 instructions for one token in int8: each multiplies one tile of up to 128 inputs, in vectors of 64 bytes.

`vpdpbusd` adds four products of an unsigned and a signed byte in 32 bits. So a word w is looked up as w + 128, and the
sums start at -128 times the sum of the inputs. The results are exact for every word from -128 to 127.

The inputs stand in the orders of `integer_orders`, 128 for each tile, zeros behind the last. It is used only if the CPU
has AVX-512 with VNNI.
"""

# llvmlite has no type annotations:
# pyright: reportAttributeAccessIssue=false, reportArgumentType=false, reportOptionalMemberAccess=false
# pyright: reportAssignmentType=false

from collections.abc import Callable
from typing import Any

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
    constant,
    loop,
    prefetch,
    shuffle,
    vector,
)

WIDTH = 128  # inputs of a full tile
AT_ONCE = 16  # rows whose sums are completed together
DIGITS = 5  # rows of a group in base 9
GROUPS = AT_ONCE // DIGITS  # groups in base 9 whose sums are completed together
_BYTES, _SHORTS, _INTS, _FLOATS = vector(I8, 64), vector(I16, 32), vector(I32, 16), vector(FLOAT, 16)


def integer_orders() -> tuple[np.ndarray, np.ndarray]:
    """Return which of a tile's 128 inputs stands at each place: for words in nibbles, and in base 9."""
    nibbles = np.concatenate([np.arange(0, WIDTH, 2), np.arange(1, WIDTH, 2)])
    # `vpackuswb` takes eight from each of two vectors of 32, four times.
    packed = np.arange(64).reshape(2, 4, 8).swapaxes(0, 1).ravel()
    return nibbles, np.concatenate([packed, packed + 64])


class _Tile:
    """Parts that both kernels share."""

    def __init__(self, builder: ir.IRBuilder, args: Any) -> None:
        self.b = builder
        self.packed, x, table, self.scale, self.stride, self.total, self.first, self.count, self.cols = args
        self.x = [self.load(_BYTES, builder.add(x, _number(64 * i))) for i in (0, 1)]
        words = self.load(vector(I8, 16), table)
        unsigned = builder.xor(words, constant(words.type, 0x80))
        self.table = shuffle(builder, unsigned, unsigned, list(range(16)) * 4)
        ones = constant(_BYTES, 0x80)
        self.start = ir.Constant(_INTS, None)
        for part in self.x:
            self.start = self.dot(ones, part, self.start)
        self.start = builder.sub(ir.Constant(_INTS, None), self.start)

    def call(self, name: str, result: ir.Type, arguments: list[ir.Value]) -> ir.Value:
        """Call an intrinsic function of LLVM."""
        kind = ir.FunctionType(result, [argument.type for argument in arguments])
        return self.b.call(cgutils.get_or_insert_function(self.b.module, kind, name), arguments)

    def load(self, kind: ir.Type, address: ir.Value) -> ir.Value:
        return self.b.load(self.b.inttoptr(address, kind.as_pointer()), align=1)

    def load_part(self, kind: ir.VectorType, address: ir.Value, count: ir.Value) -> ir.Value:
        """Load the first `count` elements of a vector, and zeros for the others; nothing behind them is read."""
        b = self.b
        places = ir.Constant(vector(I16, kind.count), list(range(kind.count)))
        wanted = b.insert_element(ir.Constant(places.type, ir.Undefined), b.trunc(count, I16), ir.Constant(I32, 0))
        wanted = shuffle(b, wanted, wanted, [0] * kind.count)
        mask = b.icmp_signed("<", places, wanted)
        pointer = b.inttoptr(address, kind.as_pointer())
        name = f"llvm.masked.load.v{kind.count}i{kind.element.width}.p0"
        given = [pointer, ir.Constant(I32, 1), mask, ir.Constant(kind, None)]
        return self.call(name, kind, given)

    def dot(self, words: ir.Value, inputs: ir.Value, sums: ir.Value) -> ir.Value:
        """Add four products of unsigned words and signed inputs to each sum."""
        factors = [self.b.bitcast(part, _INTS) for part in (words, inputs)]
        return self.call("llvm.x86.avx512.vpdpbusd.512", _INTS, [sums, *factors])

    def words(self, codes: ir.Value) -> ir.Value:
        """Return the words of codes from 0 to 15, plus 128."""
        return self.call("llvm.x86.avx512.pshuf.b.512", _BYTES, [self.table, codes])

    def at_most(self, value: ir.Value, most: ir.Value) -> ir.Value:
        return self.b.select(self.b.icmp_signed("<", value, most), value, most)

    def finish(self, row: ir.Value, sums: list[ir.Value], end: ir.Value) -> None:
        """Add scale times sum to the results of 16 rows from `row` on, and zero to those from `end` on."""
        b = self.b
        for places in (  # of two vectors, on both sides of the addition: elements, pairs, and twice quarters
            [[0, 16, 1, 17], [2, 18, 3, 19]],
            [[0, 1, 16, 17], [2, 3, 18, 19]],
        ):
            spread = [[lane + place for lane in range(0, 16, 4) for place in half] for half in places]
            pairs = zip(sums[::2], sums[1::2], strict=True)
            sums = [b.add(*(shuffle(b, x, y, half) for half in spread)) for x, y in pairs]
        for _ in range(2):
            spread = [[4 * quarter + i for quarter in half for i in range(4)] for half in ([0, 2, 4, 6], [1, 3, 5, 7])]
            pairs = zip(sums[::2], sums[1::2], strict=True)
            sums = [b.add(*(shuffle(b, x, y, half) for half in spread)) for x, y in pairs]
        halves = ir.Constant(vector(I16, AT_ONCE), [0] * AT_ONCE)
        last = b.sub(end, _number(1))
        for i in range(AT_ONCE):
            at = self.at_most(b.add(row, _number(i)), last)
            half = self.load(I16, b.add(self.scale, b.mul(at, self.stride)))
            halves = b.insert_element(halves, half, ir.Constant(I32, i))
        scale = b.fpext(b.bitcast(halves, vector(HALF, AT_ONCE)), _FLOATS)
        places = ir.Constant(_INTS, list(range(AT_ONCE)))
        left = b.insert_element(ir.Constant(_INTS, ir.Undefined), b.trunc(b.sub(end, row), I32), ir.Constant(I32, 0))
        within = b.icmp_signed("<", places, shuffle(b, left, left, [0] * AT_ONCE))
        products = b.fmul(b.sitofp(sums[0], _FLOATS), scale)
        products = b.select(within, products, ir.Constant(_FLOATS, None))
        address = b.inttoptr(b.add(self.total, b.mul(row, _number(4))), _FLOATS.as_pointer())
        b.store(b.fadd(b.load(address, align=4), products), address, align=4)


def _number(value: int) -> ir.Constant:
    return ir.Constant(I64, value)


def _nibbles(builder: ir.IRBuilder, args: Any) -> None:
    """Rows `first` to `first + count` in nibbles."""
    tile = _Tile(builder, args)
    b = builder
    bytes_of_row = b.lshr(b.add(tile.cols, _number(1)), _number(1))
    last = b.sub(tile.count, _number(1))
    low = constant(_BYTES, 15)

    def rows(index: ir.Value) -> list[ir.Value]:
        at = b.mul(index, _number(AT_ONCE))
        sums = []
        for i in range(AT_ONCE):
            row = tile.at_most(b.add(at, _number(i)), last)
            place = b.add(tile.packed, b.mul(row, bytes_of_row))
            prefetch(b, place)
            packed = tile.load_part(_BYTES, place, bytes_of_row)
            upper = b.bitcast(b.lshr(b.bitcast(packed, _SHORTS), constant(_SHORTS, 4)), _BYTES)
            found = tile.start
            for half, x in zip((packed, upper), tile.x, strict=True):
                found = tile.dot(tile.words(b.and_(half, low)), x, found)
            sums.append(found)
        tile.finish(b.add(tile.first, at), sums, b.add(tile.first, tile.count))
        return []

    loop(b, b.udiv(b.add(tile.count, _number(AT_ONCE - 1)), _number(AT_ONCE)), [], rows)


def _fives(builder: ir.IRBuilder, args: Any) -> None:
    """`count` groups of five rows in base 9, from row `first` on: a 16-bit fraction for each input."""
    tile = _Tile(builder, args)
    b = builder
    last = b.sub(tile.count, _number(1))
    wide = vector(I32, 32)

    def groups(index: ir.Value) -> list[ir.Value]:
        at = b.mul(index, _number(GROUPS))
        sums = []
        for i in range(GROUPS):
            group = tile.at_most(b.add(at, _number(i)), last)
            start = b.add(tile.packed, b.mul(b.mul(group, tile.cols), _number(2)))
            found = [tile.start] * DIGITS
            for chunk, x in enumerate(tile.x):
                halves = []
                for part in (0, 1):
                    skipped = 64 * chunk + 32 * part
                    place = b.add(start, _number(2 * skipped))
                    prefetch(b, place)
                    halves.append(tile.load_part(_SHORTS, place, b.sub(tile.cols, _number(skipped))))
                for digit in range(DIGITS):
                    products = [b.mul(b.zext(half, wide), constant(wide, 9)) for half in halves]
                    codes = [b.trunc(b.lshr(product, constant(wide, 16)), _SHORTS) for product in products]
                    packed = tile.call("llvm.x86.avx512.packuswb.512", _BYTES, codes)
                    found[digit] = tile.dot(tile.words(packed), x, found[digit])
                    halves = [b.mul(half, constant(_SHORTS, 9)) for half in halves]
            sums += found
        row = b.add(tile.first, b.mul(at, _number(DIGITS)))
        end = b.add(tile.first, b.mul(tile.count, _number(DIGITS)))
        # The sixteenth row belongs to the next groups, which add to it later.
        tile.finish(row, [*sums, ir.Constant(_INTS, None)], tile.at_most(end, b.add(row, _number(GROUPS * DIGITS))))
        return []

    loop(b, b.udiv(b.add(tile.count, _number(GROUPS - 1)), _number(GROUPS)), [], groups)


def _kernel(build: Callable[[ir.IRBuilder, Any], None], doc: str) -> Any:
    """Make an intrinsic of (packed, x, table, scale, stride, total, first, count, cols): addresses and numbers."""

    def typing(context, packed, x, table, scale, stride, total, first, count, cols):
        def code(context, builder, signature, args):
            build(builder, args)
            return context.get_dummy_value()

        return types.void(*[types.int64] * 9), code

    typing.__doc__ = doc
    typing.__name__ = typing.__qualname__ = "integer" + build.__name__ + "_tile"
    return intrinsic(typing)


# `total` has room for 16 results from the last row on. Those behind the last row get nothing added.
integer_nibbles_tile = _kernel(_nibbles, "Add the products of rows `first` to `first + count`, in nibbles, to `total`.")
integer_fives_tile = _kernel(_fives, "Add the products of `count` groups of five rows in base 9, from row `first` on.")
