"""Convert codes to words in registers, and multiply four words at a time, in PTX assembly.

A codebook of up to 16 int8 words is held in four 32-bit registers (two int64 here), loaded once per tile. The byte
permute PRMT selects four bytes out of eight by the low three bits of four nibbles. The fourth bit selects between the
two halves of the codebook in a third PRMT. No weight is looked up in memory. Every function has a second version in
plain operations, which Triton's interpreter runs. `tests/unit/kernels/triton/test_word_decoding.py` executes the
assembly instruction by instruction and compares both.
"""

# Triton's language is not Python's, and has no types:
# pyright: reportArgumentType=false, reportCallIssue=false, reportIndexIssue=false, reportOperatorIssue=false
# pyright: reportAttributeAccessIssue=false, reportReturnType=false, reportGeneralTypeIssues=false

from typing import no_type_check

import triton
import triton.language as tl

ASSEMBLY = tl.constexpr(not triton.knobs.runtime.interpret)

# $0 to $3: four words each; $4: 16 nibbles; $5, $6: the codebook.
SIXTEEN = """{
.reg .b32 q<2>, t<4>, c, m, a, b;
mov.b64 {q0, q1}, $4;
mov.b64 {t0, t1}, $5;
mov.b64 {t2, t3}, $6;
""" + "".join(
    f"""and.b32 c, q{half}, 0x77777777;
shr.u32 m, q{half}, 1;
lop3.b32 m, m, 0x44444444, 0x32103210, 0xEA;
prmt.b32 a, t0, t1, c;
prmt.b32 b, t2, t3, c;
prmt.b32 ${2 * half}, a, b, m;
shr.u32 c, c, 16;
shr.u32 m, m, 16;
prmt.b32 a, t0, t1, c;
prmt.b32 b, t2, t3, c;
prmt.b32 ${2 * half + 1}, a, b, m;
"""
    for half in range(2)
) + "}"  # fmt: skip

# $0 to $4: four words of one row each; $5: the fractions of four columns; $6: words 0 to 7; $7: word 8, four times.
FIVES = """{
.reg .b32 f<4>, d<4>, t<2>, m, a;
.reg .b64 r;
mov.b64 {t0, t1}, $6;
mov.b64 {f1, f3}, $5;
shl.b32 f0, f1, 16;
shl.b32 f2, f3, 16;
and.b32 f1, f1, 0xffff0000;
and.b32 f3, f3, 0xffff0000;
""" + "".join(
    "".join(f"mul.wide.u32 r, f{column}, 9;\nmov.b64 {{f{column}, d{column}}}, r;\n" for column in range(4))
    + f"""mad.lo.u32 d0, d1, 16, d0;
mad.lo.u32 d2, d3, 16, d2;
mad.lo.u32 d0, d2, 256, d0;
prmt.b32 a, t0, t1, d0;
shr.u32 m, d0, 1;
lop3.b32 m, m, 0x44444444, 0x32103210, 0xEA;
prmt.b32 ${row}, a, $7, m;
"""
    for row in range(5)
) + "}"  # fmt: skip

# $0 = $1 + the products of 16 words ($2-$5) with 16 inputs ($6, $7).
DOT = """{
.reg .b32 x<4>;
mov.b64 {x0, x1}, $6;
mov.b64 {x2, x3}, $7;
dp4a.s32.s32 $0, $2, x0, $1;
dp4a.s32.s32 $0, $3, x1, $0;
dp4a.s32.s32 $0, $4, x2, $0;
dp4a.s32.s32 $0, $5, x3, $0;
}"""

DOT_FOUR = "dp4a.s32.s32 $0, $1, $2, $3;"

# Convert four codes of one byte each to the nibbles of `c` and `m`, which select bytes and halves.
_PICK = """or.b32 c, q, m;
prmt.b32 c, c, 0, 0x4420;
shr.u32 m, c, 1;
and.b32 c, c, 0x7777;
lop3.b32 m, m, 0x4444, 0x3210, 0xEA;
"""

# $0: four words; $1: four codes, one byte each; $2 and $6: the codebook. Triton passes four equal copies of it.
BYTES = (
    """{
.reg .b32 q, t<4>, c, m, a, b;
mov.b32 q, $1;
mov.b64 {t0, t1}, $2;
mov.b64 {t2, t3}, $6;
shr.u32 m, q, 4;
"""
    + _PICK
    + """prmt.b32 a, t0, t1, c;
prmt.b32 b, t2, t3, c;
prmt.b32 $0, a, b, m;
}"""
)

_SIXTEEN, _FIVES, _DOT, _DOT_FOUR, _BYTES = map(tl.constexpr, (SIXTEEN, FIVES, DOT, DOT_FOUR, BYTES))


@triton.jit
@no_type_check
def byte_of(code, low, high):
    """Return byte `code` (below 16) of a codebook, 0 to 255; `low` holds the first eight bytes, `high` the others."""
    half = tl.where(code < 8, low, high)
    return ((half >> ((code & 7) * 8).to(tl.int64)) & 255).to(tl.int32)


@triton.jit
@no_type_check
def _four_of(codes, first, low, high):
    """Return the words of the nibbles `first` to `first` + 3 of an int64, one byte each."""
    packed = byte_of((codes >> (4 * first)) & 15, low, high)
    for c in tl.static_range(1, 4):
        packed |= byte_of((codes >> (4 * first + 4 * c)) & 15, low, high) << (8 * c)
    return packed


@triton.jit
@no_type_check
def sixteen(codes, low, high):
    """Return the words of 16 nibbles (an int64), as four int32 of four bytes."""
    if ASSEMBLY:
        return tl.inline_asm_elementwise(
            _SIXTEEN, "=&r,=&r,=&r,=&r,l,l,l", [codes, low, high], (tl.int32, tl.int32, tl.int32, tl.int32), True, 1
        )
    else:
        return (
            _four_of(codes, 0, low, high),
            _four_of(codes, 4, low, high),
            _four_of(codes, 8, low, high),
            _four_of(codes, 12, low, high),
        )


@triton.jit
@no_type_check
def _four_digits(fractions, power, low, last):
    """Return the words of digit k of four 16-bit fractions in an int64, as four bytes; `power` is 9^k."""
    packed = tl.zeros(fractions.shape, tl.int32)
    for c in tl.static_range(4):
        rest = (((fractions >> (16 * c)) & 65535).to(tl.int32) * power) & 65535
        packed |= byte_of((rest * 9) >> 16, low, (last & 255).to(tl.int64)) << (8 * c)
    return packed


@triton.jit
@no_type_check
def fives(fractions, low, last):
    """Return the words of five rows and four columns (16-bit fractions in an int64), as five int32 of four bytes."""
    if ASSEMBLY:
        return tl.inline_asm_elementwise(
            _FIVES, "=&r,=&r,=&r,=&r,=&r,l,l,r", [fractions, low, last],
            (tl.int32, tl.int32, tl.int32, tl.int32, tl.int32), True, 1,
        )  # fmt: skip
    else:
        return (
            _four_digits(fractions, 1, low, last),
            _four_digits(fractions, 9, low, last),
            _four_digits(fractions, 81, low, last),
            _four_digits(fractions, 729, low, last),
            _four_digits(fractions, 6561, low, last),
        )


@triton.jit
@no_type_check
def dot_four(words, inputs, total):
    """Return total + the products of four int8 words with four int8 inputs."""
    if ASSEMBLY:
        return tl.inline_asm_elementwise(_DOT_FOUR, "=r,r,r,r", [words, inputs, total], tl.int32, True, 1)
    else:
        for c in tl.static_range(4):
            total += ((words << (24 - 8 * c)) >> 24) * ((inputs << (24 - 8 * c)) >> 24)
        return total


@triton.jit
@no_type_check
def dot(a, b, c, d, first, second, total):
    """Return total + the products of 16 int8 words with 16 int8 inputs, which are two int64."""
    if ASSEMBLY:
        return tl.inline_asm_elementwise(
            _DOT, "=&r,r,r,r,r,r,l,l", [total, a, b, c, d, first, second], tl.int32, True, 1
        )
    else:
        total = dot_four(a, first.to(tl.int32), total)
        total = dot_four(b, (first >> 32).to(tl.int32), total)
        total = dot_four(c, second.to(tl.int32), total)
        return dot_four(d, (second >> 32).to(tl.int32), total)


@triton.jit
@no_type_check
def words_of(codes, low, high):
    """Return the int8 words of uint8 codes below 16."""
    if ASSEMBLY:
        return tl.inline_asm_elementwise(_BYTES, "=&r,r,l,l,l,l,l,l,l,l", [codes, low, high], tl.int8, True, 4)
    else:
        return byte_of(codes.to(tl.int32), low, high).to(tl.int8)
