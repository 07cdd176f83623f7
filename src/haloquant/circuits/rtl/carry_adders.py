"""Verilog of adders that add two rows of bits: ripple, prefix trees, and blocks of two to eight bits."""

from collections.abc import Sequence
from typing import Literal, get_args

from haloquant.circuits.rtl.adder_trees import ONE, ZERO, GateWriter, Net

PlainAdder = Literal["rca", "bk", "ks"]
BlockAdder = Literal[
    "skip2", "skip3", "skip4", "skip5", "skip6", "skip7", "skip8",
    "sel2", "sel3", "sel4", "sel5", "sel6", "sel7", "sel8",
]  # fmt: skip
Adder = PlainAdder | BlockAdder

PLAIN: tuple[PlainAdder, ...] = get_args(PlainAdder)
BLOCKS: tuple[BlockAdder, ...] = get_args(BlockAdder)


def adder_title(adder: Adder) -> str:
    """Return the name of an adder in words, such as `Brent-Kung` or `carry-select in blocks of 4 bits`."""
    plain = {"rca": "ripple", "bk": "Brent-Kung", "ks": "Kogge-Stone"}
    if adder in plain:
        return plain[adder]
    kind = "carry-skip" if adder.startswith("skip") else "carry-select"
    return f"{kind} in blocks of {adder[-1]} bits"


def add(writer: GateWriter, adder: Adder, x: Sequence[Net], y: Sequence[Net], carry_in: Net = ZERO) -> list[Net]:
    """Return the nets of x + y + carry_in modulo 2**len(x).

    `rca` is a ripple-carry adder, `bk` the prefix tree of Brent and Kung (IEEE Trans. Comput. C-31(3), 1982), and `ks`
    the prefix tree of Kogge and Stone (IEEE Trans. Comput. C-22(8), 1973). `skip4` ripples in blocks of four bits, and
    a carry passes a block at once if all its bits propagate it (Lehman and Burla, IRE Trans. Electron. Comput. EC-10,
    1961). `sel4` adds each block of four bits for both carries, and the carry that arrives selects one of the sums
    (Bedrij, IRE Trans. Electron. Comput. EC-11, 1962). The last block is shorter where the width needs it.
    """
    if adder == "rca":
        return _ripple(writer, x, y, carry_in)[0]
    if adder in BLOCKS:
        block = _skip_block if adder.startswith("skip") else _select_block
        size, carry, total = int(adder[-1]), carry_in, list[Net]()
        for low in range(0, len(x), size):
            part, carry = block(writer, x[low : low + size], y[low : low + size], carry)
            total += part
        return total
    generate = [writer.and_(a, b) for a, b in zip(x, y, strict=True)]
    propagate = [writer.xor(a, b) for a, b in zip(x, y, strict=True)]
    if carry_in != ZERO:
        generate[0] = writer.or_(generate[0], writer.and_(propagate[0], carry_in))
    group = list(zip(generate[:-1], propagate[:-1], strict=True))
    group = _kogge_stone(writer, group) if adder == "ks" else _brent_kung(writer, group)
    carries = [carry_in, *(g for g, _ in group)]
    return [writer.xor(p, c) for p, c in zip(propagate, carries, strict=True)]


def add_both(writer: GateWriter, x: Sequence[Net], y: Sequence[Net]) -> tuple[list[Net], list[Net], Net]:
    """Return the nets of x + y and of x + y + 1, both modulo 2**len(x), and the carry out of x + y + 1.

    One prefix tree of Kogge and Stone makes the carries of both: a carry into the second sum is generated, or
    propagated from the lowest bit.
    """
    propagate = [writer.xor(a, b) for a, b in zip(x, y, strict=True)]
    group = [(writer.and_(a, b), p) for a, b, p in zip(x, y, propagate, strict=True)]
    group = _kogge_stone(writer, group)
    carries = [ZERO, *(g for g, _ in group)]
    more = [ONE, *(writer.or_(g, p) for g, p in group)]
    count = len(propagate)
    whole = [writer.xor(p, c) for p, c in zip(propagate, carries[:count], strict=True)]
    plus_one = [writer.xor(p, c) for p, c in zip(propagate, more[:count], strict=True)]
    return whole, plus_one, more[-1]


def _ripple(writer: GateWriter, x: Sequence[Net], y: Sequence[Net], carry: Net) -> tuple[list[Net], Net]:
    """Return the sum of two words and the carry out of them."""
    total: list[Net] = []
    for a, b in zip(x, y, strict=True):
        s, carry = writer.full_adder(a, b, carry)
        total.append(s)
    return total, carry


def _skip_block(writer: GateWriter, x: Sequence[Net], y: Sequence[Net], carry: Net) -> tuple[list[Net], Net]:
    """Return the sum of a block and its carry: the one that arrives if all bits propagate, else the rippled one."""
    total, rippled = _ripple(writer, x, y, carry)
    if carry in (ZERO, ONE):
        return total, rippled
    passes = ONE
    for a, b in zip(x, y, strict=True):
        passes = writer.and_(passes, writer.xor(a, b))
    return total, writer.mux(passes, carry, rippled)


def _select_block(writer: GateWriter, x: Sequence[Net], y: Sequence[Net], carry: Net) -> tuple[list[Net], Net]:
    """Return the sum of a block and its carry, both chosen by the carry that arrives."""
    if carry in (ZERO, ONE):
        return _ripple(writer, x, y, carry)
    (low, low_carry), (high, high_carry) = (_ripple(writer, x, y, constant) for constant in (ZERO, ONE))
    chosen = [writer.mux(carry, b, a) for a, b in zip(low, high, strict=True)]
    return chosen, writer.mux(carry, high_carry, low_carry)


def _join(writer: GateWriter, high: tuple[Net, Net], low: tuple[Net, Net]) -> tuple[Net, Net]:
    (g1, p1), (g0, p0) = high, low
    return writer.or_(g1, writer.and_(p1, g0)), writer.and_(p1, p0)


def _kogge_stone(writer: GateWriter, group: list[tuple[Net, Net]]) -> list[tuple[Net, Net]]:
    step = 1
    while step < len(group):
        group = [_join(writer, pair, group[i - step]) if i >= step else pair for i, pair in enumerate(group)]
        step *= 2
    return group


def _brent_kung(writer: GateWriter, group: list[tuple[Net, Net]]) -> list[tuple[Net, Net]]:
    group = list(group)
    step = 1
    while step < len(group):
        for i in range(2 * step - 1, len(group), 2 * step):
            group[i] = _join(writer, group[i], group[i - step])
        step *= 2
    while step > 1:
        step //= 2
        for i in range(3 * step - 1, len(group), 2 * step):
            group[i] = _join(writer, group[i], group[i - step])
    return group
