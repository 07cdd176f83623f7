"""Boolean expressions of Liberty files (`function`, `when`, `next_state`), parsed into truth tables.

Operators, from the tightest binding to the loosest: `!a` and `a'`; `a ^ b`; `a & b` = `a * b` = `a b`; `a | b` =
`a + b` (Liberty User Guide, "function"). One Python integer holds a whole column of the truth table, one
bit per row. So each operator of the expression costs one integer operation.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from jaxtyping import UInt8

from haloquant.errors import LibertyError

MAX_INPUTS = 12  # gives 4096 rows; the widest `when` of a known standard cell has ten inputs
_MAX_CHARACTERS = 4096
_MAX_DEPTH = 64
_TOKEN = re.compile(r"\s*(?:([A-Za-z_][\w\[\].]*)|(.))", re.DOTALL | re.ASCII)


@dataclass(frozen=True, slots=True)
class BooleanFunction:
    """A Boolean function of named pins.

    In row `r` of its truth table, input `i` has the value `(r >> i) & 1`. `packed` holds the rows as bits, row 0 in the
    lowest bit.
    """

    text: str
    inputs: tuple[str, ...]
    packed: bytes

    def table(self) -> UInt8[np.ndarray, " rows"]:
        """Return all `2**len(inputs)` values of the function, 0 or 1."""
        bits = np.unpackbits(np.frombuffer(self.packed, np.uint8), bitorder="little")
        return bits[: 1 << len(self.inputs)]

    def evaluate(self, values: Mapping[str, int | bool]) -> bool:
        """Return the value of the function for one value of each input.

        Raises:
            KeyError: If `values` lacks one of `inputs`.
        """
        row = sum(bool(values[name]) << i for i, name in enumerate(self.inputs))
        return bool(self.packed[row >> 3] >> (row & 7) & 1)


@lru_cache(maxsize=4096)
def parse_function(text: str) -> BooleanFunction:
    """Parse an expression and compute its truth table. The inputs are in the order of their first appearance.

    Raises:
        LibertyError: If the text is not an expression, names more than 12 pins, or nests too deep. The message has no
            file and line, because only the caller knows them.
    """
    if len(text) > _MAX_CHARACTERS:
        raise LibertyError(f"an expression must have at most {_MAX_CHARACTERS} characters, not {len(text)}")
    found = _TOKEN.findall(text.strip())
    tokens = [name or sign for name, sign in found]
    names = list(dict.fromkeys(name for name, _ in found if name))
    if len(names) > MAX_INPUTS:
        raise LibertyError(f"an expression must name at most {MAX_INPUTS} pins, not {len(names)}: {text[:60]!r}")
    rows = 1 << len(names)
    full = (1 << rows) - 1
    columns = {name: _column(i, rows) for i, name in enumerate(names)}
    parser = _Parser(text, tokens, columns, full)
    value = parser.disjunction(0)
    if parser.position < len(tokens):
        parser.fail()
    return BooleanFunction(text, tuple(names), value.to_bytes(max(1, rows // 8), "little"))


def _column(i: int, rows: int) -> int:
    """Return the column of input i: blocks of 2^i zeros and 2^i ones, so that bit r of the column is bit i of r."""
    width = 2 << i
    column = ((1 << (1 << i)) - 1) << (1 << i)
    while width < rows:
        column |= column << width
        width *= 2
    return column


class _Parser:
    """A recursive-descent parser. Each method returns a whole truth table as one integer."""

    def __init__(self, text: str, tokens: list[str], columns: dict[str, int], full: int) -> None:
        self.text, self.tokens, self.columns, self.full, self.position = text, tokens, columns, full, 0

    def fail(self) -> None:
        token = self.token() or "its end"
        raise LibertyError(f"an expression must be pins joined by ! ' ^ & * | +, but {self.text[:60]!r} has {token!r}")

    def token(self) -> str:
        return self.tokens[self.position] if self.position < len(self.tokens) else ""

    def disjunction(self, depth: int) -> int:
        value = self.conjunction(depth)
        while self.token() in ("|", "+"):
            self.position += 1
            value |= self.conjunction(depth)
        return value

    def conjunction(self, depth: int) -> int:
        value = self.exclusive_or(depth)
        while token := self.token():
            if token in ("&", "*"):
                self.position += 1
            elif token not in self.columns and token not in ("!", "(", "0", "1"):
                break
            value &= self.exclusive_or(depth)
        return value

    def exclusive_or(self, depth: int) -> int:
        value = self.factor(depth)
        while self.token() == "^":
            self.position += 1
            value ^= self.factor(depth)
        return value

    def factor(self, depth: int) -> int:
        if depth > _MAX_DEPTH:
            raise LibertyError(f"an expression must nest at most {_MAX_DEPTH} deep, not {self.text[:60]!r}...")
        token = self.token()
        self.position += 1
        value = 0
        if token == "!":  # noqa: S105 (an operator, not a password)
            value = self.full ^ self.factor(depth + 1)
        elif token == "(":  # noqa: S105
            value = self.disjunction(depth + 1)
            if self.token() != ")":
                self.fail()
            self.position += 1
        elif token in ("0", "1"):
            value = self.full if token == "1" else 0  # noqa: S105
        elif token in self.columns:
            value = self.columns[token]
        else:
            self.position -= 1
            self.fail()
        while self.token() == "'":
            self.position += 1
            value ^= self.full
        return value


@lru_cache(maxsize=4096)
def table_over_inputs(function: BooleanFunction, inputs: tuple[str, ...]) -> UInt8[np.ndarray, " rows"]:
    """Return the function's truth table over a wider or differently ordered list of inputs, e.g. all inputs of a cell.

    Returns:
        `2**len(inputs)` values, 0 or 1, read-only. In row `r`, `inputs[i]` has the value `(r >> i) & 1`.

    Raises:
        LibertyError: If `inputs` lacks an input of the function: the cell has no such pin, or is of another library.
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
