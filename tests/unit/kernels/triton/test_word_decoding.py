"""The GPU kernels' assembly run instruction by instruction, after the PTX ISA, against look-ups in plain numpy."""

import re

import numpy as np
import pytest

pytest.importorskip("triton")

from haloquant.kernels.triton import word_decoding

MASK = 0xFFFFFFFF
Registers = dict[str, int]


def signed(value: int, bits: int) -> int:
    return value - (1 << bits) if value >> (bits - 1) & 1 else value


def prmt(a: int, b: int, selector: int) -> int:
    """Byte i of the result is the byte of b:a that nibble i names; the nibble's highest bit copies its sign instead."""
    both, result = b << 32 | a, 0
    for i in range(4):
        nibble = selector >> (4 * i) & 15
        byte = both >> (8 * (nibble & 7)) & 255
        if nibble & 8:
            byte = 255 if byte & 128 else 0
        result |= byte << (8 * i)
    return result


def lop3(a: int, b: int, c: int, table: int) -> int:
    """Bit by bit: the table's bit whose number is 4 a + 2 b + c."""
    return sum((table >> (4 * (a >> i & 1) + 2 * (b >> i & 1) + (c >> i & 1)) & 1) << i for i in range(32))


def dp4a(a: int, b: int, c: int) -> int:
    products = (signed(a >> s & 255, 8) * signed(b >> s & 255, 8) for s in (0, 8, 16, 24))
    return (signed(c, 32) + sum(products)) & MASK


OPERATIONS = {
    "mov.b32": lambda a: a,
    "and.b32": lambda a, b: a & b,
    "or.b32": lambda a, b: a | b,
    "shr.u32": lambda a, b: a >> b,
    "shl.b32": lambda a, b: a << b & MASK,
    "mad.lo.u32": lambda a, b, c: a * b + c & MASK,
    "mul.wide.u32": lambda a, b: a * b,
    "prmt.b32": prmt,
    "lop3.b32": lop3,
    "dp4a.s32.s32": dp4a,
}


def run(code: str, inputs: Registers) -> Registers:
    """All registers after the last instruction; an unknown instruction is an error."""
    registers = dict(inputs)
    for statement in code.strip().strip("{}").split(";"):
        words = statement.split(None, 1)
        if not words or words[0] == ".reg":
            continue
        name, operands = words[0], words[1].strip()
        if pair := re.match(r"\{(\w+), (\w+)\}, (\S+)$", operands):
            assert name == "mov.b64"
            value = registers[pair[3]]
            registers[pair[1]], registers[pair[2]] = value & MASK, value >> 32
            continue
        target, *sources = [one.strip() for one in operands.split(",")]
        values = [int(one, 0) if one[0].isdigit() else registers[one] for one in sources]
        registers[target] = OPERATIONS[name](*values)
    return registers


def pack(values: list[int], bits: int) -> int:
    return sum((value & ((1 << bits) - 1)) << (bits * i) for i, value in enumerate(values))


def unpack(value: int, count: int) -> list[int]:
    return [signed(value >> (8 * i) & 255, 8) for i in range(count)]


@pytest.fixture(params=range(5))
def generator(request) -> np.random.Generator:
    return np.random.default_rng(request.param)


def book(generator: np.random.Generator, size: int) -> list[int]:
    return sorted(generator.choice(np.arange(-128, 128), size, replace=False).tolist())


def test_prmt_is_what_the_isa_says() -> None:
    assert prmt(0x33221100, 0x77665544, 0x7410) == 0x77441100
    assert prmt(0x80, 0, 0x0888) == 0x80FFFFFF
    assert lop3(0b1100, 0b1010, 0b0001, 0xEA) == (0b1100 & 0b1010) | 1


def test_sixteen_nibbles(generator) -> None:
    words = book(generator, 16)
    codes = generator.permutation(16).tolist()
    done = run(word_decoding.SIXTEEN, {"$4": pack(codes, 4), "$5": pack(words[:8], 8), "$6": pack(words[8:], 8)})
    assert [w for i in range(4) for w in unpack(done[f"${i}"], 4)] == [words[c] for c in codes]


def test_five_rows_of_four_columns(generator) -> None:
    words = book(generator, 9)
    codes = np.concatenate([generator.permutation(9), generator.permutation(9), [0, 8]]).reshape(5, 4)
    fractions = [-(-65536 * int(column @ 9 ** np.arange(4, -1, -1)) // 9**5) for column in codes.T]
    last = pack([words[8]] * 4, 8)
    done = run(word_decoding.FIVES, {"$5": pack(fractions, 16), "$6": pack(words[:8], 8), "$7": last})
    assert [unpack(done[f"${k}"], 4) for k in range(5)] == [[words[c] for c in row] for row in codes]


def test_fractions_of_base_9_are_decoded_to_their_digits() -> None:
    """Every 37th stored word (37 shares no factor with 9); words are their own codes, so that digits come out."""
    words = {"$6": pack(list(range(8)), 8), "$7": pack([8] * 4, 8)}
    for number in range(0, 9**5, 4 * 37):
        numbers = [min(number + 37 * i, 9**5 - 1) for i in range(4)]
        done = run(word_decoding.FIVES, words | {"$5": pack([-(-65536 * n // 9**5) for n in numbers], 16)})
        found = [[done[f"${k}"] >> (8 * i) & 255 for k in range(5)] for i in range(4)]
        assert found == [[n // 9**k % 9 for k in range(4, -1, -1)] for n in numbers]


def test_products(generator) -> None:
    words, inputs = generator.integers(-128, 128, (2, 16)).tolist()
    start = int(generator.integers(-1000, 1000))
    registers = {f"${2 + i}": pack(words[4 * i : 4 * i + 4], 8) for i in range(4)}
    registers |= {"$1": start & MASK, "$6": pack(inputs[:8], 8), "$7": pack(inputs[8:], 8)}
    assert signed(run(word_decoding.DOT, registers)["$0"], 32) == start + int(np.dot(words, inputs))
    four = {"$1": pack(words[:4], 8), "$2": pack(inputs[:4], 8), "$3": start & MASK}
    assert signed(run(word_decoding.DOT_FOUR, four)["$0"], 32) == start + int(np.dot(words[:4], inputs[:4]))


def test_four_codes_of_a_byte_each(generator) -> None:
    words = book(generator, 16)
    for codes in generator.permutation(16).reshape(4, 4).tolist():
        bytes_ = {"$1": pack(codes, 8), "$2": pack(words[:8], 8), "$6": pack(words[8:], 8)}
        assert unpack(run(word_decoding.BYTES, bytes_)["$0"], 4) == [words[c] for c in codes]
