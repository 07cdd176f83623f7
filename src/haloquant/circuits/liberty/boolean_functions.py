"""Boolean expressions of Liberty (`function`, `when`, `next_state`): parsed by hand, kept as truth tables.

Grammar, binding from tight to loose: `!a` and `a'`, `a ^ b`, `a & b` = `a * b` = `a b`, `a | b` = `a + b`
(Liberty User Guide, "function"). The truth table is computed with whole columns at once: a Python integer holds one
bit per row, so an operator of the expression is one integer operation.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from jaxtyping import UInt8

from haloquant.errors import LibertyError

MOST_INPUTS = 12  # 4096 rows; the widest standard cell's `when` has ten
_LONGEST = 4096
_DEEPEST = 64
_TOKEN = re.compile(r"\s*(?:([A-Za-z_][\w\[\].]*)|(.))", re.DOTALL | re.ASCII)


@dataclass(frozen=True, slots=True)
class Function:
    """A Boolean function of named pins.

    Row `r` of its table gives input `i` the bit `(r >> i) & 1`; `packed` holds the rows as bits, row 0 lowest.
    """

    text: str
    inputs: tuple[str, ...]
    packed: bytes

    def table(self) -> UInt8[np.ndarray, " rows"]:
        """All `2**len(inputs)` values, 0 or 1."""
        bits = np.unpackbits(np.frombuffer(self.packed, np.uint8), bitorder="little")
        return bits[: 1 << len(self.inputs)]

    def evaluate(self, values: Mapping[str, int | bool]) -> bool:
        """The value where every input is known.

        Raises:
            KeyError: where `values` lacks one of `inputs`.
        """
        row = sum(bool(values[name]) << i for i, name in enumerate(self.inputs))
        return bool(self.packed[row >> 3] >> (row & 7) & 1)


@lru_cache(maxsize=4096)
def parse_function(text: str) -> Function:
    """Parse an expression and tabulate it. Inputs stand in order of first appearance.

    Raises:
        LibertyError: (without a file and line; the caller knows them) where the text is not an expression, names more
            than 12 pins, or nests too deep.
    """
    if len(text) > _LONGEST:
        raise LibertyError(f"an expression must have at most {_LONGEST} characters, not {len(text)}")
    found = _TOKEN.findall(text.strip())
    tokens = [name or sign for name, sign in found]
    names = list(dict.fromkeys(name for name, _ in found if name))
    if len(names) > MOST_INPUTS:
        raise LibertyError(f"an expression must name at most {MOST_INPUTS} pins, not {len(names)}: {text[:60]!r}")
    rows = 1 << len(names)
    full = (1 << rows) - 1
    columns = {name: _column(i, rows) for i, name in enumerate(names)}
    parser = _Parser(text, tokens, columns, full)
    value = parser.either(0)
    if parser.at < len(tokens):
        parser.fail()
    return Function(text, tuple(names), value.to_bytes(max(1, rows // 8), "little"))


def _column(i: int, rows: int) -> int:
    """Bit r is bit i of r: blocks of 2^i zeros and 2^i ones, doubled until all rows are covered."""
    width = 2 << i
    column = ((1 << (1 << i)) - 1) << (1 << i)
    while width < rows:
        column |= column << width
        width *= 2
    return column


class _Parser:
    """Recursive descent over the tokens; a value is the whole truth table as an integer."""

    def __init__(self, text: str, tokens: list[str], columns: dict[str, int], full: int) -> None:
        self.text, self.tokens, self.columns, self.full, self.at = text, tokens, columns, full, 0

    def fail(self) -> None:
        token = self.tokens[self.at] if self.at < len(self.tokens) else "its end"
        raise LibertyError(f"an expression must be pins joined by ! ' ^ & * | +, but {self.text[:60]!r} has {token!r}")

    def next(self) -> str:
        return self.tokens[self.at] if self.at < len(self.tokens) else ""

    def either(self, depth: int) -> int:
        value = self.both(depth)
        while self.next() in ("|", "+"):
            self.at += 1
            value |= self.both(depth)
        return value

    def both(self, depth: int) -> int:
        value = self.differ(depth)
        while token := self.next():
            if token in ("&", "*"):
                self.at += 1
            elif token not in self.columns and token not in ("!", "(", "0", "1"):
                break
            value &= self.differ(depth)
        return value

    def differ(self, depth: int) -> int:
        value = self.factor(depth)
        while self.next() == "^":
            self.at += 1
            value ^= self.factor(depth)
        return value

    def factor(self, depth: int) -> int:
        if depth > _DEEPEST:
            raise LibertyError(f"an expression must nest at most {_DEEPEST} deep, not {self.text[:60]!r}...")
        token = self.next()
        self.at += 1
        value = 0
        if token == "!":  # noqa: S105 (an operator, not a password)
            value = self.full ^ self.factor(depth + 1)
        elif token == "(":  # noqa: S105
            value = self.either(depth + 1)
            if self.next() != ")":
                self.fail()
            self.at += 1
        elif token in ("0", "1"):
            value = self.full if token == "1" else 0  # noqa: S105
        elif token in self.columns:
            value = self.columns[token]
        else:
            self.at -= 1
            self.fail()
        while self.next() == "'":
            self.at += 1
            value ^= self.full
        return value


@lru_cache(maxsize=4096)
def over_inputs(function: Function, inputs: tuple[str, ...]) -> UInt8[np.ndarray, " rows"]:
    """The function's table over a wider or differently ordered list of inputs, e.g. all of a cell's.

    Returns:
        `2**len(inputs)` values, 0 or 1, read-only; row `r` gives `inputs[i]` the bit `(r >> i) & 1`.

    Raises:
        LibertyError: where `inputs` lacks one of the function's: the cell has no such pin, or is another library's.
    """
    for name in function.inputs:
        if name not in inputs:
            raise LibertyError(
                f"a function of pins {', '.join(function.inputs)} must be of a cell with them, but this cell's inputs "
                f"are {', '.join(inputs) or 'none'}, without {name}"
            )
    rows = np.arange(1 << len(inputs))
    own = np.zeros_like(rows)
    for i, name in enumerate(function.inputs):
        own |= (rows >> inputs.index(name) & 1) << i
    table = function.table()[own]
    table.flags.writeable = False
    return table
