"""AVX-512 instructions that numba does not generate: a register holds a table of 16 floats, read in one look-up.

Each intrinsic below multiplies one full tile of 128 inputs with one token and adds to 16 partial sums per row. It
computes the same as `tile_in_loops` of `kernels.cpu.gemv`. It is used only if the CPU has AVX-512.
"""

# llvmlite has no type annotations:
# pyright: reportAttributeAccessIssue=false, reportArgumentType=false, reportOptionalMemberAccess=false

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from haloquant.kernels.cpu.vector_operations import prefetch

LANES = 16
WIDTH = 128  # inputs of a full tile
I16, I32, I64, FLOAT, HALF = ir.IntType(16), ir.IntType(32), ir.IntType(64), ir.FloatType(), ir.HalfType()
V16F, V16I, V32H = ir.VectorType(FLOAT, 16), ir.VectorType(I32, 16), ir.VectorType(I16, 32)
V32I = ir.VectorType(I32, 32)


def _constant(vector: ir.VectorType, value: int) -> ir.Constant:
    return ir.Constant(vector, [value] * vector.count)


class _Tile:
    """Parts that both kernels share: loads, look-ups, and adding the products of a row to its partial sums."""

    def __init__(self, builder: ir.IRBuilder, args: Any) -> None:
        self.builder = builder
        self.packed, x, table, self.scale, self.stride, self.sums = args[:6]
        self.lookup = cgutils.get_or_insert_function(
            builder.module, ir.FunctionType(V16F, [V16F, V16I]), "llvm.x86.avx512.permvar.sf.512"
        )
        self.fma = cgutils.get_or_insert_function(builder.module, ir.FunctionType(V16F, [V16F] * 3), "llvm.fma.v16f32")
        self.table = self.load(V16F, table, ir.Constant(I64, 0))
        self.x = [self.load(V16F, x, ir.Constant(I64, 4 * LANES * s)) for s in range(WIDTH // LANES)]

    def load(self, vector: ir.Type, base: ir.Value, offset: ir.Value) -> ir.Value:
        """Load the vector at byte address `base` + `offset`."""
        address = self.builder.inttoptr(self.builder.add(base, offset), vector.as_pointer())
        return self.builder.load(address, align=2 if vector is HALF else 4 if vector is not V32H else 2)

    def words(self, codes: ir.Value) -> ir.Value:
        """Return the words of 16 codes, which are the lowest 4 bits of each lane; other bits are ignored."""
        return self.builder.call(self.lookup, [self.table, codes])

    def multiply_add(self, a: ir.Value, b: ir.Value, c: ir.Value) -> ir.Value:
        """Return a * b + c, rounded once."""
        return self.builder.call(self.fma, [a, b, c])

    def store(self, row: ir.Value, products: ir.Value) -> None:
        """Add scale[row] * products to the 16 partial sums of a row."""
        b = self.builder
        scale = b.fpext(self.load(HALF, self.scale, b.mul(row, self.stride)), FLOAT)
        spread = b.insert_element(ir.Constant(V16F, ir.Undefined), scale, ir.Constant(I32, 0))
        spread = b.shuffle_vector(spread, spread, _constant(V16I, 0))
        place = b.mul(row, ir.Constant(I64, 4 * LANES))
        address = b.inttoptr(b.add(self.sums, place), V16F.as_pointer())
        b.store(self.multiply_add(spread, products, b.load(address, align=4)), address, align=4)


def _nibbles(builder: ir.IRBuilder, args: Any) -> None:
    """Rows in nibbles: each of 16 32-bit integers holds 8 codes; code s of integer l belongs to input 8 l + s."""
    tile = _Tile(builder, args)
    first, rows = args[6:]
    with cgutils.for_range(builder, rows) as loop:
        place = builder.mul(loop.index, ir.Constant(I64, WIDTH // 2))
        words = tile.load(V16I, tile.packed, place)
        prefetch(builder, builder.add(tile.packed, place))
        halves: list[ir.Value | None] = [None, None]  # two independent chains of additions
        for s, x in enumerate(tile.x):
            values = tile.words(builder.lshr(words, _constant(V16I, 4 * s)) if s else words)
            partial = halves[s % 2]
            halves[s % 2] = builder.fmul(values, x) if partial is None else tile.multiply_add(values, x, partial)
        tile.store(builder.add(first, loop.index), builder.fadd(*halves))


def _fives(builder: ir.IRBuilder, args: Any) -> None:
    """Groups of five rows in base 9: a 16-bit fraction per input; multiplying by 9 moves the next code above it."""
    tile = _Tile(builder, args)
    first, groups = args[6:]
    nine, shift = _constant(V32H, 9), _constant(V32I, 16)
    with cgutils.for_range(builder, groups) as loop:
        sums: list[ir.Value | None] = [None] * 5
        for chunk in range(WIDTH // 32):
            place = builder.add(builder.mul(loop.index, ir.Constant(I64, 2 * WIDTH)), ir.Constant(I64, 64 * chunk))
            rest = tile.load(V32H, tile.packed, place)
            prefetch(builder, builder.add(tile.packed, place))
            for k in range(5):
                wide = builder.mul(builder.zext(rest, V32I), _constant(V32I, 9))
                digits = builder.bitcast(builder.trunc(builder.lshr(wide, shift), V32H), V16I)
                rest = builder.mul(rest, nine)
                for half in range(2):  # even inputs are in the lower 16 bits of a lane, odd inputs in the upper
                    codes = builder.lshr(digits, _constant(V16I, 16)) if half else digits
                    values, x, partial = tile.words(codes), tile.x[2 * chunk + half], sums[k]
                    sums[k] = builder.fmul(values, x) if partial is None else tile.multiply_add(values, x, partial)
        row = builder.add(first, builder.mul(loop.index, ir.Constant(I64, 5)))
        for k, products in enumerate(sums):
            tile.store(builder.add(row, ir.Constant(I64, k)), products)


def _kernel(build: Callable[[ir.IRBuilder, Any], None], doc: str) -> Any:
    """Make an intrinsic of (packed, x, table, scale, stride, sums, first, count): addresses, a stride, two counts."""

    def typing(context, packed, x, table, scale, stride, sums, first, count):
        def code(context, builder, signature, args):
            build(builder, args)
            return context.get_dummy_value()

        return types.void(*[types.int64] * 8), code

    typing.__doc__ = doc
    typing.__name__ = typing.__qualname__ = build.__name__.strip("_") + "_tile"
    return intrinsic(typing)


nibbles_tile = _kernel(_nibbles, "Compute rows `first` to `first + count` of a tile in nibbles.")
fives_tile = _kernel(_fives, "Compute `count` groups of five rows of a tile in base 9, from row `first` on.")
