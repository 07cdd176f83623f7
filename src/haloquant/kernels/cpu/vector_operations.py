"""Operations on vectors of bytes, as LLVM code: AVX2 on x86 and NEON on ARM.

A table of 16 bytes fits into a register, and one instruction looks up a vector of codes in it (`vpshufb`, `tbl`). A
word is an integer from -128 to 127, which bfloat16 holds exactly. So two look-ups give the upper and the lower byte of
a bfloat16, and a bfloat16 followed by 16 zero bits is the same number in float32.

The order in which a vector holds its elements differs between instruction sets. Each method that changes the order
says so, and `orders` of `kernels.cpu.tile_instructions` follows it.
"""

# llvmlite has no type annotations:
# pyright: reportAttributeAccessIssue=false, reportArgumentType=false, reportOptionalMemberAccess=false
# pyright: reportReturnType=false, reportAssignmentType=false, reportCallIssue=false

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, no_type_check

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

I8, I16, I32, I64 = (ir.IntType(bits) for bits in (8, 16, 32, 64))
FLOAT, HALF = ir.FloatType(), ir.HalfType()

CACHE_LINE = 64  # bytes
AHEAD = 4096  # bytes: rows of tiles are short, and the CPU does not foresee the next page


def vector(kind: ir.Type, count: int) -> ir.VectorType:
    """Return the type of a vector."""
    return ir.VectorType(kind, count)


def constant(kind: ir.VectorType, value: int) -> ir.Constant:
    """Return a vector with the same value in each element."""
    return ir.Constant(kind, [value] * kind.count)


def shuffle(builder: ir.IRBuilder, a: ir.Value, b: ir.Value, places: list[int]) -> ir.Value:
    """Return the elements of `a` and then `b` at these places."""
    return builder.shuffle_vector(a, b, ir.Constant(vector(I32, len(places)), places))


def loop(
    b: ir.IRBuilder, count: ir.Value, start: list[ir.Value], body: Callable[..., list[ir.Value]]
) -> list[ir.Value]:
    """Write code that runs `body(index, *carried)` `count` times, and return what the last time carried on.

    Args:
        b: the builder of the code.
        count: a 64-bit integer.
        start: the values that the first time gets.
        body: returns the values that are carried to the next time.
    """
    before = b.block
    head, after = b.append_basic_block(), b.append_basic_block()
    b.cbranch(b.icmp_signed(">", count, ir.Constant(I64, 0)), head, after)
    b.position_at_end(head)
    index = b.phi(I64)
    carried = [b.phi(value.type) for value in start]
    results = body(index, *carried)
    following = b.add(index, ir.Constant(I64, 1))
    end = b.block
    b.cbranch(b.icmp_signed("<", following, count), head, after)
    for phi, first, later in zip([index, *carried], [ir.Constant(I64, 0), *start], [following, *results], strict=True):
        phi.add_incoming(first, before)
        phi.add_incoming(later, end)
    b.position_at_end(after)
    found = []
    for first, later in zip(start, results, strict=True):
        phi = b.phi(first.type)
        phi.add_incoming(first, before)
        phi.add_incoming(later, end)
        found.append(phi)
    return found


def prefetch(builder: ir.IRBuilder, address: ir.Value, ahead: int = AHEAD) -> None:
    """Ask for the bytes that are `ahead` behind a byte address; behind the last code, that does nothing."""
    kind = ir.FunctionType(ir.VoidType(), [I8.as_pointer(), I32, I32, I32])
    name = "llvm.prefetch.p0"
    ask = builder.module.globals.get(name) or ir.Function(builder.module, kind, name)
    place = builder.inttoptr(builder.add(address, ir.Constant(I64, ahead)), I8.as_pointer())
    builder.call(ask, [place, *(ir.Constant(I32, value) for value in (0, 3, 1))])  # to read, soon and often, data


@intrinsic
def _prefetch_here(context, address):
    """Ask for the bytes at an address."""

    def code(context, builder, signature, args):
        prefetch(builder, args[0], 0)
        return context.get_dummy_value()

    return types.void(types.int64), code


@njit
@no_type_check
def ask_for(array, start, end):
    """Ask for the elements from `start` to `end` of an array, which are read a little later."""
    for place in range(start * array.itemsize, end * array.itemsize, CACHE_LINE):
        _prefetch_here(array.ctypes.data + place)


class Operations(ABC):
    """What both instruction sets have in common; `width` is the number of bytes in a vector."""

    width: int
    register: str  # the letter of a vector register in inline assembly
    fraction_bits: int  # integer sums are multiplied by 2 to this power
    input_type: type[np.int8] | type[np.int16]  # of an integer input
    absolutes: bool  # behind each vector of inputs stands a vector of their absolute values, for `dot`
    lowest_word: int  # that `dot` multiplies exactly

    def __init__(self, builder: ir.IRBuilder) -> None:
        self.builder = builder
        self.bytes = vector(I8, self.width)
        self.shorts = vector(I16, self.width // 2)
        self.ints = vector(I32, self.width // 4)
        self.floats = vector(FLOAT, self.width // 4)

    def call(self, name: str, result: ir.Type, arguments: list[ir.Value]) -> ir.Value:
        """Call an intrinsic function of LLVM."""
        module = self.builder.module
        kind = ir.FunctionType(result, [argument.type for argument in arguments])
        function = module.globals.get(name) or ir.Function(module, kind, name)
        return self.builder.call(function, arguments)

    def load(self, kind: ir.Type, base: ir.Value, offset: int = 0) -> ir.Value:
        """Load a value at byte address `base` + `offset`; it need not be aligned."""
        address = self.builder.add(base, ir.Constant(I64, offset)) if offset else base
        return self.builder.load(self.builder.inttoptr(address, kind.as_pointer()), align=1)

    def store(self, value: ir.Value, address: ir.Value) -> None:
        """Store a value at a byte address, which need not be aligned."""
        self.builder.store(value, self.builder.inttoptr(address, value.type.as_pointer()), align=1)

    def nibbles(self, packed: ir.Value) -> list[ir.Value]:
        """Return the low and the high halves of a vector of bytes, in the order of the bytes."""
        b = self.builder
        upper = b.bitcast(b.lshr(b.bitcast(packed, self.shorts), constant(self.shorts, 4)), self.bytes)
        return [b.and_(half, constant(self.bytes, 15)) for half in (packed, upper)]

    def digit(self, fractions: ir.Value) -> ir.Value:
        """Return the first base-9 digits of fractions of 65536, in 16-bit integers."""
        b, wide = self.builder, vector(I32, self.shorts.count)
        product = b.mul(b.zext(fractions, wide), constant(wide, 9))
        return b.trunc(b.lshr(product, constant(wide, 16)), self.shorts)

    def rest(self, fractions: ir.Value) -> ir.Value:
        """Return what is left behind the first base-9 digits: 9 times the fractions, in 16 bits.

        A shift and an addition take the place of a multiplication, which older CPUs do in one unit only. The empty
        assembly keeps LLVM from making it a multiplication again.
        """
        b = self.builder
        shifted = b.shl(fractions, constant(self.shorts, 3))
        same = ir.FunctionType(self.shorts, [self.shorts])
        return b.add(b.asm(same, "", f"={self.register},0", [shifted], False), fractions)

    def words_as_float(self, lower: ir.Value, upper: ir.Value, codes: ir.Value) -> list[ir.Value]:
        """Return the words of a vector of codes as four vectors of float32.

        `lower` and `upper` are tables of the bytes of the words in bfloat16. Within each 16 bytes of the codes, the
        vectors hold the words of bytes 0 2 4 6, 1 3 5 7, 8 10 12 14 and 9 11 13 15.
        """
        b = self.builder
        low, high = self.lookup(lower, codes), self.lookup(upper, codes)
        found = []
        for first in (0, 8):
            places = [
                lane + first + byte + part
                for lane in range(0, self.width, 16)
                for byte in range(8)
                for part in (0, self.width)
            ]
            pairs = b.bitcast(shuffle(b, low, high, places), self.ints)  # two bfloat16 in each integer
            even = b.shl(pairs, constant(self.ints, 16))
            odd = b.and_(pairs, constant(self.ints, 0xFFFF0000))
            found += [b.bitcast(even, self.floats), b.bitcast(odd, self.floats)]
        return found

    def multiply_add(self, a: ir.Value, b: ir.Value, c: ir.Value) -> ir.Value:
        """Return a * b + c in float32, rounded once."""
        return self.call(f"llvm.fma.v{self.floats.count}f32", self.floats, [a, b, c])

    @abstractmethod
    def lookup(self, table: ir.Value, codes: ir.Value) -> ir.Value:
        """Return the bytes of a table of 16 at places from 0 to 15."""

    @abstractmethod
    def table(self, base: ir.Value, offset: int) -> ir.Value:
        """Load a table of 16 bytes for `lookup`."""

    @abstractmethod
    def pack(self, low: ir.Value, high: ir.Value) -> ir.Value:
        """Return two vectors of 16-bit integers from 0 to 255 as one vector of bytes."""

    @abstractmethod
    def dot(self, words: ir.Value, inputs: Any, sums: ir.Value) -> ir.Value:
        """Add the products of a vector of words and as many inputs to `sums`, a vector of 32-bit integers."""

    @abstractmethod
    def totals(self, sums: list[ir.Value]) -> ir.Value:
        """Return the sum of the elements of each of eight vectors, as one vector of eight."""


class Avx2(Operations):
    """AVX2, FMA and F16C: vectors of 32 bytes, in which most instructions treat each 16 bytes alone."""

    width = 32
    register = "x"
    fraction_bits = 0
    input_type = np.int8
    absolutes = True
    lowest_word = -127

    def table(self, base: ir.Value, offset: int) -> ir.Value:
        """Load a table of 16 bytes into both halves of a vector."""
        once = self.load(vector(I8, 16), base, offset)
        return shuffle(self.builder, once, once, [*range(16), *range(16)])

    def lookup(self, table: ir.Value, codes: ir.Value) -> ir.Value:
        """Look codes up with `vpshufb`."""
        return self.call("llvm.x86.avx2.pshuf.b", self.bytes, [table, codes])

    def half_nibbles(self, packed: ir.Value) -> ir.Value:
        """Return the low halves of 16 bytes and then their high halves."""
        b = self.builder
        twice = b.bitcast(shuffle(b, packed, packed, [*range(16), *range(16)]), self.ints)
        moved = b.lshr(twice, ir.Constant(self.ints, [0] * 4 + [4] * 4))
        return b.and_(b.bitcast(moved, self.bytes), constant(self.bytes, 15))

    def pack(self, low: ir.Value, high: ir.Value) -> ir.Value:
        """Pack with `vpackuswb`: first the first halves of both vectors, then their second halves."""
        return self.call("llvm.x86.avx2.packuswb", self.bytes, [low, high])

    def dot(self, words: ir.Value, inputs: Any, sums: ir.Value) -> ir.Value:
        """Add the products: `inputs` are a vector of bytes and their absolute values.

        `vpmaddubsw` adds two products of an unsigned and a signed byte in 16 bits. So the absolute input is multiplied
        with the word, which takes the sign of the input. The largest sum is 2 x 128 x 127, which 16 bits hold. The word
        -128 has no negative in a byte, so `Avx2Wide` multiplies it.
        """
        b = self.builder
        signed = self.call("llvm.x86.avx2.psign.b", self.bytes, [words, inputs[0]])
        pairs = self.call("llvm.x86.avx2.pmadd.ub.sw", self.shorts, [inputs[1], signed])
        return b.add(sums, self.call("llvm.x86.avx2.pmadd.wd", self.ints, [pairs, constant(self.shorts, 1)]))

    def totals(self, sums: list[ir.Value]) -> ir.Value:
        """Add elements while transposing: pairs, fours, then the two halves."""
        b = self.builder
        add = b.fadd if sums[0].type == self.floats else b.add
        for places in (  # the elements of two vectors on both sides of the addition
            [[0, 8, 1, 9, 4, 12, 5, 13], [2, 10, 3, 11, 6, 14, 7, 15]],
            [[0, 1, 8, 9, 4, 5, 12, 13], [2, 3, 10, 11, 6, 7, 14, 15]],
            [[0, 1, 2, 3, 8, 9, 10, 11], [4, 5, 6, 7, 12, 13, 14, 15]],
        ):
            pairs = zip(sums[::2], sums[1::2], strict=True)
            sums = [add(*(shuffle(b, x, y, half) for half in places)) for x, y in pairs]
        return sums[0]


class Avx2Vnni(Avx2):
    """AVX2 with an instruction for dot products of bytes: AVX-VNNI, or VNNI of AVX-512 for vectors of 32 bytes."""

    def dot(self, words: ir.Value, inputs: Any, sums: ir.Value) -> ir.Value:
        """Add four products at a time with `vpdpbusd`, of an unsigned byte with a signed one, as in `Avx2.dot`."""
        signed = self.call("llvm.x86.avx2.psign.b", self.bytes, [words, inputs[0]])
        factors = [self.builder.bitcast(part, self.ints) for part in (inputs[1], signed)]
        return self.call("llvm.x86.avx512.vpdpbusd.256", self.ints, [sums, *factors])


class Avx2Wide(Avx2):
    """AVX2 with a product of integers for every word, the word -128 among them; it takes a third more instructions."""

    fraction_bits = 8
    input_type = np.int16
    absolutes = False
    lowest_word = -128

    def dot(self, words: ir.Value, inputs: Any, sums: ir.Value) -> ir.Value:
        """Add 2^8 times the products: `inputs` are two vectors of 16-bit integers, for even and for odd bytes.

        A word in the upper byte of a 16-bit integer, above zeros, is 2^8 times the word, with its sign. `vpmaddwd` adds
        two products of 16 bits in 32 bits.
        """
        b = self.builder
        pairs = b.bitcast(words, self.shorts)
        even = b.shl(pairs, constant(self.shorts, 8))
        odd = b.and_(pairs, constant(self.shorts, 0xFF00))
        for half, x in zip((even, odd), inputs, strict=True):
            sums = b.add(sums, self.call("llvm.x86.avx2.pmadd.wd", self.ints, [half, b.bitcast(x, self.shorts)]))
        return sums


class Neon(Operations):
    """NEON, which every 64-bit ARM has: vectors of 16 bytes."""

    width = 16
    register = "w"
    fraction_bits = 0
    input_type = np.int8
    absolutes = False
    lowest_word = -128

    def table(self, base: ir.Value, offset: int) -> ir.Value:
        """Load a table of 16 bytes."""
        return self.load(self.bytes, base, offset)

    def lookup(self, table: ir.Value, codes: ir.Value) -> ir.Value:
        """Look codes up with `tbl`."""
        return self.call("llvm.aarch64.neon.tbl1.v16i8", self.bytes, [table, codes])

    def pack(self, low: ir.Value, high: ir.Value) -> ir.Value:
        """Pack in order."""
        b = self.builder
        both = shuffle(b, low, high, list(range(16)))
        return b.trunc(both, self.bytes)

    def dot(self, words: ir.Value, inputs: Any, sums: ir.Value) -> ir.Value:
        """Add the products: `inputs` is one vector of bytes. Two products are added in 32 bits."""
        b = self.builder
        shorts = vector(I16, 8)
        for places in (list(range(8)), list(range(8, 16))):
            a, x = (b.sext(shuffle(b, part, part, places), shorts) for part in (words, inputs[0]))
            sums = b.add(sums, self.call("llvm.aarch64.neon.saddlp.v4i32.v8i16", self.ints, [b.mul(a, x)]))
        return sums

    def totals(self, sums: list[ir.Value]) -> ir.Value:
        """Add neighbours with `addp`, twice."""
        name = "faddp.v4f32" if sums[0].type == self.floats else "addp.v4i32"
        for _ in range(2):
            sums = [
                self.call(f"llvm.aarch64.neon.{name}", x.type, [x, y])
                for x, y in zip(sums[::2], sums[1::2], strict=True)
            ]
        return shuffle(self.builder, sums[0], sums[1], list(range(8)))


class NeonDotProduct(Neon):
    """NEON with the instructions for dot products of bytes (ARMv8.2 and later)."""

    def dot(self, words: ir.Value, inputs: Any, sums: ir.Value) -> ir.Value:
        """Add four products at a time with `sdot`."""
        return self.call("llvm.aarch64.neon.sdot.v4i32.v16i8", self.ints, [sums, words, inputs[0]])


# The operations of each instruction set, and those for codebooks whose words the former do not multiply exactly.
OPERATIONS: dict[str, tuple[type[Operations], type[Operations]]] = {
    "avx512+vnni": (Avx2Vnni, Avx2Wide),
    "avx512": (Avx2, Avx2Wide),
    "avx2+vnni": (Avx2Vnni, Avx2Wide),
    "avx2": (Avx2, Avx2Wide),
    "neon": (Neon, Neon),
    "neon+dotprod": (NeonDotProduct, NeonDotProduct),
}
