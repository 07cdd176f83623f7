"""Verilog of adders: a writer of gates, and two trees that compress rows of bits to two rows.

A net is a one-bit Verilog expression. The writer folds the constants "1'b0" and "1'b1" into the gates that read them.
So a constant correction row adds no needless gates, even if the synthesizer keeps the structure.
"""

from collections.abc import Mapping, Sequence
from typing import Literal

Net = str
Row = Mapping[int, Net]  # column -> net, at most one net for each column
Tree = Literal["array", "dadda"]

ZERO: Net = "1'b0"
ONE: Net = "1'b1"

ADDER_CELLS = """\
module fa (input a, input b, input c, output s, output co);
  assign s = a ^ b ^ c;
  assign co = (a & b) | (a & c) | (b & c);
endmodule

module ha (input a, input b, output s, output co);
  assign s = a ^ b;
  assign co = a & b;
endmodule
"""


class GateWriter:
    """Collects the lines of one Verilog module body. Each method writes a gate and returns its output net."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self._count = 0

    def _name(self) -> Net:
        self._count += 1
        return f"n{self._count}"

    def assign(self, expression: str) -> Net:
        """Write `wire n = expression` and return n."""
        net = self._name()
        self.lines.append(f"wire {net} = {expression};")
        return net

    def invert(self, a: Net) -> Net:
        """Return not a."""
        if a in (ZERO, ONE):
            return ONE if a == ZERO else ZERO
        return self.assign(f"~{a}")

    def and_(self, a: Net, b: Net) -> Net:
        """Return a and b."""
        if ZERO in (a, b):
            return ZERO
        if ONE in (a, b):
            return b if a == ONE else a
        return self.assign(f"{a} & {b}")

    def or_(self, a: Net, b: Net) -> Net:
        """Return a or b."""
        if ONE in (a, b):
            return ONE
        if ZERO in (a, b):
            return b if a == ZERO else a
        return self.assign(f"{a} | {b}")

    def xor(self, a: Net, b: Net) -> Net:
        """Return a xor b."""
        if ZERO in (a, b):
            return b if a == ZERO else a
        if ONE in (a, b):
            return self.invert(b if a == ONE else a)
        return self.assign(f"{a} ^ {b}")

    def mux(self, select: Net, yes: Net, no: Net) -> Net:
        """Return yes where select is 1, else no."""
        if yes == no or select in (ZERO, ONE):
            return no if select == ZERO else yes
        return self.assign(f"{select} ? {yes} : {no}")

    def half_adder(self, a: Net, b: Net) -> tuple[Net, Net]:
        """Return (sum, carry) of two bits."""
        if ZERO in (a, b):
            return self.xor(a, b), ZERO
        if ONE in (a, b):
            return self.xor(a, b), self.and_(a, b)
        s, c = self._name(), self._name()
        self.lines.append(f"wire {s}, {c}; ha u{s} (.a({a}), .b({b}), .s({s}), .co({c}));")
        return s, c

    def full_adder(self, a: Net, b: Net, c: Net) -> tuple[Net, Net]:
        """Return (sum, carry) of three bits."""
        constants = sorted(net for net in (a, b, c) if net in (ZERO, ONE))
        others = [net for net in (a, b, c) if net not in (ZERO, ONE)]
        if ZERO in constants:
            constants.remove(ZERO)
            left = (others + constants)[:2]
            return self.half_adder(left[0], left[1])
        if len(constants) > 1:  # x + 1 + 1
            return (others + constants[2:])[0], ONE
        if constants:  # x + y + 1
            x, y = others
            return self.invert(self.xor(x, y)), self.or_(x, y)
        s, co = self._name(), self._name()
        self.lines.append(f"wire {s}, {co}; fa u{s} (.a({a}), .b({b}), .c({c}), .s({s}), .co({co}));")
        return s, co


def constant_row(value: int, width: int) -> Row:
    """Return the row of the constant `value` modulo 2**width."""
    return {column: ONE for column in range(width) if value >> column & 1}


def place_bits(rows: Sequence[Row], strays: Sequence[tuple[int, Net]]) -> list[Row]:
    """Return the rows, with each of the single bits in the first row that has no bit in its column, or in a new row."""
    out = [dict(row) for row in rows]
    for column, net in strays:
        home = next((row for row in out if column not in row), None)
        if home is None:
            out.append({column: net})
        else:
            home[column] = net
    return list(out)


def compress(
    writer: GateWriter, rows: Sequence[Row], width: int, tree: Tree, even: bool = False
) -> tuple[list[Net], list[Net]]:
    """Return two rows of `width` nets whose sum is the sum of all rows modulo 2**width.

    If `even`, bit 0 of the second row is 0; this is for the tree `dadda`.

    `array` adds one row after the other with carry-save adders. `dadda` reduces all columns level by level to the
    heights ... 13, 9, 6, 4, 3, 2 (Dadda, Alta Frequenza 34, 1965).
    """
    columns = _array(writer, rows, width) if tree == "array" else _dadda(writer, rows, width, even)
    first = [column[0] if column else ZERO for column in columns]
    second = [column[1] if len(column) > 1 else ZERO for column in columns]
    return first, second


def reduce_rows(writer: GateWriter, rows: Sequence[Row], width: int, height: int) -> list[list[Net]]:
    """Return at most `height` rows of `width` nets whose sum is the sum of all rows modulo 2**width, by Dadda's tree.

    Args:
        writer: collects the gates.
        rows: the rows to add.
        width: width of the sum.
        height: a height of Dadda's series: 2, 3, 4, 6, 9, 13 and so on.
    """
    columns: list[list[Net]] = [[] for _ in range(width)]
    for row in rows:
        for column, net in row.items():
            columns[column].append(net)
    columns = _dadda_columns(writer, columns, lowest=height)
    count = max(len(column) for column in columns)
    return [[column[i] if i < len(column) else ZERO for column in columns] for i in range(count)]


def _array(writer: GateWriter, rows: Sequence[Row], width: int) -> list[list[Net]]:
    columns: list[list[Net]] = [[] for _ in range(width)]
    for index, row in enumerate(rows):
        for column, net in row.items():
            columns[column].append(net)
        if index < 2 and all(len(column) <= 2 for column in columns):
            continue
        carries: list[Net | None] = [None] * (width + 1)
        for at, nets in enumerate(columns):
            arriving = carries[at] is not None
            if len(nets) >= 3:
                s, carry = writer.full_adder(*nets[:3])
                columns[at] = [s, *nets[3:]]
            elif len(nets) == 2 and arriving:
                s, carry = writer.half_adder(*nets)
                columns[at] = [s]
            else:
                continue
            carries[at + 1] = carry if carry != ZERO else None
        for at, carry in enumerate(carries[:width]):
            if carry is not None:
                columns[at].append(carry)
    return _dadda_columns(writer, columns)  # a correction row may leave a third bit, which one level removes


def _dadda(writer: GateWriter, rows: Sequence[Row], width: int, even: bool) -> list[list[Net]]:
    columns: list[list[Net]] = [[] for _ in range(width)]
    for row in rows:
        for column, net in row.items():
            columns[column].append(net)
    return _dadda_columns(writer, columns, even)


def _dadda_columns(
    writer: GateWriter, columns: list[list[Net]], even: bool = False, lowest: int = 2
) -> list[list[Net]]:
    heights = [2]
    while heights[-1] < max(len(column) for column in columns):
        heights.append(heights[-1] * 3 // 2)
    for height in (height for height in reversed(heights) if height >= lowest):
        arriving: list[Net] = []
        reduced: list[list[Net]] = []
        for at, column in enumerate(columns):
            nets, after, carries = list(column), list(arriving), []
            most = 1 if even and at == 0 and height == 2 else height
            while len(nets) + len(after) > most:
                if len(nets) < 2:  # more carries than bits: add carries, too
                    nets, after = after + nets, []
                if len(nets) + len(after) == most + 1 or len(nets) < 3:
                    s, carry = writer.half_adder(nets.pop(0), nets.pop(0))
                else:
                    s, carry = writer.full_adder(nets.pop(0), nets.pop(0), nets.pop(0))
                after.append(s)
                carries.append(carry)
            reduced.append(nets + after)
            arriving = [carry for carry in carries if carry != ZERO]
        columns = [[net for net in column if net != ZERO] for column in reduced]
    return columns
