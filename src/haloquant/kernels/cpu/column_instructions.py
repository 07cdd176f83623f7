"""Chosen columns of one tile times one token, as LLVM code: 128 sums, from codes that stand column by column.

A column of a tile is 64 bytes. Of 10 to 16 words it holds 128 nibbles; of at most nine words, 32 fractions of 65536 in
16 bits, each with up to five base-9 digits. Which output a nibble or a digit belongs to follows from the order in which
the instructions decode: `nibble_outputs` and `digit_outputs` say it. So sums leave the registers in the order of the
outputs. A sum takes its columns in order, and each product is added with one rounding (a fused multiply-add).
"""

# llvmlite has no type annotations:
# pyright: reportAttributeAccessIssue=false, reportArgumentType=false, reportOptionalMemberAccess=false
# pyright: reportReturnType=false, reportAssignmentType=false, reportCallIssue=false

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from haloquant.kernels.cpu.vector_operations import FLOAT, I32, I64, Operations, loop, vector

OUTPUTS = 128  # of a tile
COLUMN = 64  # bytes of a tile's column
DIGITS = 5


def nibble_outputs(operations: type[Operations]) -> np.ndarray:
    """Return the output of the low and of the high nibble of each byte of a column, [64, 2]."""
    lanes = operations.width // 4
    found = np.empty((COLUMN, 2), np.int64)
    for first in range(0, COLUMN, operations.width):
        for part in range(4):  # bytes 0 2 4 6 of each 16, then 1 3 5 7, 8 10 12 14, 9 11 13 15
            inside = (np.arange(lanes) // 4) * 16 + 8 * (part // 2) + part % 2 + 2 * (np.arange(lanes) % 4)
            for half in range(2):
                found[first + inside, half] = 2 * first + lanes * (4 * half + part) + np.arange(lanes)
    return found


def digit_outputs(operations: type[Operations]) -> np.ndarray:
    """Return the output of each digit of the 32 fractions of a column, [32, 5]; -1 for digits that are not used."""
    words = operations.width // 2  # of a vector
    found = np.full((COLUMN // 2, DIGITS), -1)
    block = 2 * (words // 2) * DIGITS  # outputs of a vector of fractions
    for first in range(0, COLUMN // 2, words):
        for word in range(words):
            for digit in range(DIGITS):
                output = first // words * block + words // 2 * (2 * digit + word % 2) + word // 2
                if output < OUTPUTS:
                    found[first + word, digit] = output
    return found


class _Columns:
    """The code for one tile. All addresses are 64-bit integers and count bytes."""

    def __init__(self, operations: Operations, args: list[ir.Value]) -> None:
        self.o, self.b = operations, operations.builder
        self.codes, self.places, self.x, table, self.sums, self.count = args
        self.words = [self.o.table(table, 16 * part) for part in (1, 2)]
        self.lanes = self.o.width // 4

    def number(self, value: int) -> ir.Constant:
        return ir.Constant(I64, value)

    def column(self, index: ir.Value, first: int) -> tuple[ir.Value, ir.Value]:
        """Return the address of a chosen column's bytes from `first` on, and its input in every lane."""
        b = self.b
        place = self.o.load(I32, b.add(self.places, b.mul(index, self.number(4))))
        start = b.add(self.codes, b.mul(b.zext(place, I64), self.number(COLUMN)))
        value = self.o.load(FLOAT, b.add(self.x, b.mul(index, self.number(4))))
        one = b.insert_element(ir.Constant(self.o.floats, ir.Undefined), value, ir.Constant(I32, 0))
        zeros = ir.Constant(vector(I32, self.lanes), [0] * self.lanes)
        return b.add(start, self.number(first)), b.shuffle_vector(one, one, zeros)

    def store(self, first_output: int, sums: list[ir.Value]) -> None:
        for i, total in enumerate(sums):
            self.o.store(total, self.b.add(self.sums, self.number(4 * (first_output + self.lanes * i))))


def _nibbles(tile: _Columns) -> None:
    o, b = tile.o, tile.b
    for first in range(0, COLUMN, o.width):

        def column(index: ir.Value, *sums: ir.Value, first: int = first) -> list[ir.Value]:
            at, x = tile.column(index, first)
            found: list[ir.Value] = []
            for half, codes in enumerate(o.nibbles(o.load(o.bytes, at))):
                words = o.words_as_float(tile.words[0], tile.words[1], codes)
                found += [o.multiply_add(w, x, s) for w, s in zip(words, sums[4 * half : 4 * half + 4], strict=True)]
            return found

        zero = ir.Constant(o.floats, None)
        tile.store(2 * first, loop(b, tile.count, [zero] * 8, column))


def _fives(tile: _Columns) -> None:
    """Two columns at a time: their codes fill a vector of bytes. The number of columns is even."""
    o, b = tile.o, tile.b
    words = o.width // 2
    block = words * DIGITS
    for first_word in range(0, COLUMN // 2, words):
        first_output = first_word // words * block
        digits = min(DIGITS, -(-(OUTPUTS - first_output) // words))
        if digits <= 0:
            break

        def pair(index: ir.Value, *sums: ir.Value, first: int = 2 * first_word, digits: int = digits) -> list[ir.Value]:
            both = [tile.column(b.add(b.mul(index, tile.number(2)), tile.number(second)), first) for second in range(2)]
            rests = [o.load(o.shorts, at) for at, _ in both]
            x, y = (value for _, value in both)
            found: list[ir.Value] = []
            for digit in range(digits):
                if digit:
                    rests = [o.rest(rest) for rest in rests]
                codes = o.pack(*(o.digit(rest) for rest in rests))
                even, odd, even_of_second, odd_of_second = o.words_as_float(tile.words[0], tile.words[1], codes)
                for one, other, total in (
                    (even, even_of_second, sums[2 * digit]),
                    (odd, odd_of_second, sums[2 * digit + 1]),
                ):
                    found.append(o.multiply_add(other, y, o.multiply_add(one, x, total)))
            return found

        zero = ir.Constant(o.floats, None)
        pairs = b.lshr(tile.count, tile.number(1))
        tile.store(first_output, loop(b, pairs, [zero] * (2 * digits), pair))


def kernel(layout: str, operations: type[Operations]) -> Any:
    """Return an intrinsic of numba that writes the 128 sums of one tile.

    It takes addresses, as 64-bit integers: of the tile's first column; of the numbers of the chosen columns (int32); of
    their inputs (float32); of the tables of words (`tile_products`); of the sums (float32); and the number of chosen
    columns, which is even.

    Args:
        layout: `nibbles` or `fives`.
        operations: those of the instruction set.
    """
    emit = {"nibbles": _nibbles, "fives": _fives}[layout]

    def typing(context, codes, places, x, table, sums, count):
        def code(context, builder, signature, args):
            emit(_Columns(operations(builder), list(args)))
            return context.get_dummy_value()

        return types.void(*[types.int64] * 6), code

    typing.__doc__ = f"Write the sums of chosen columns of a tile in {layout}."
    typing.__name__ = typing.__qualname__ = f"column_{layout}_{operations.__name__}"
    return intrinsic(typing)
