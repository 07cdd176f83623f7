"""Verilog of partial products: rows of bits whose sum is weight * activation."""

from collections.abc import Sequence

from haloquant.circuits.rtl.adder_trees import ONE, ZERO, GateWriter, Net, Row, constant_row, place_bits

Digit = tuple[Net, Net, Net]  # one, two, negative: a radix-4 Booth digit in -2..2


def bits(port: str, width: int) -> list[Net]:
    """Return the nets of a port, least significant first."""
    return [f"{port}[{i}]" for i in range(width)] if width > 1 else [port]


def sign_extended(writer: GateWriter, multiplier: Sequence[Net], multiplicand: Sequence[Net], width: int) -> list[Row]:
    """Return rows of and gates, sign-extended to `width`; the row of the sign bit is negated."""
    last = len(multiplier) - 1
    rows: list[Row] = []
    for i, bit in enumerate(multiplier):
        signed = [writer.invert(m) for m in multiplicand] if i == last else list(multiplicand)
        row = [writer.and_(bit, m) for m in signed]
        rows.append({column: row[min(column - i, len(row) - 1)] for column in range(i, width)})
    return place_bits(rows, [(last, multiplier[last])])  # -x = ~x + 1


def baugh_wooley(writer: GateWriter, multiplier: Sequence[Net], multiplicand: Sequence[Net], width: int) -> list[Row]:
    """Return rows of and gates with the negative terms inverted (Baugh and Wooley, IEEE Trans. Comput. C-22, 1973)."""
    n, m = len(multiplier), len(multiplicand)
    rows: list[Row] = []
    for i, bit in enumerate(multiplier):
        row = [writer.and_(bit, a) for a in multiplicand]
        rows.append({i + j: writer.invert(net) if (i == n - 1) != (j == m - 1) else net for j, net in enumerate(row)})
    constant = (1 << (n - 1)) + (1 << (m - 1)) - (1 << (n + m - 1))
    return place_bits(rows, list(constant_row(constant % (1 << width), width).items()))


def encode_booth(writer: GateWriter, multiplier: Sequence[Net]) -> list[Digit]:
    """Return the radix-4 Booth digits of a two's-complement multiplier. The digit 0 is never marked as negative."""
    if len(multiplier) % 2:
        multiplier = [*multiplier, multiplier[-1]]
    digits: list[Digit] = []
    for k in range(0, len(multiplier), 2):
        low, mid, high = (multiplier[k - 1] if k else ZERO), multiplier[k], multiplier[k + 1]
        one = writer.xor(mid, low)
        two = writer.and_(writer.xor(high, mid), writer.invert(one))
        negative = writer.and_(high, writer.invert(writer.and_(mid, low)))
        digits.append((one, two, negative))
    return digits


def stored_digits(port: str, pins: int) -> list[Digit]:
    """Return the digits that are stored on the weight pins, three pins for each."""
    nets = bits(port, pins)
    return [(nets[k], nets[k + 1], nets[k + 2]) for k in range(0, pins, 3)]


def booth(writer: GateWriter, digits: Sequence[Digit], multiplicand: Sequence[Net], width: int) -> list[Row]:
    """Return one row for each digit: 0, x, 2x or a negative of these.

    The sign bits are inverted, and one constant row replaces all sign extensions.
    """
    rows: list[Row] = []
    strays: list[tuple[int, Net]] = []
    constant = 0
    for k, (one, two, negative) in enumerate(digits):
        shifted = [ZERO, *multiplicand]
        extended = [*multiplicand, multiplicand[-1]]
        magnitude = [
            writer.or_(writer.and_(one, x), writer.and_(two, y)) for x, y in zip(extended, shifted, strict=True)
        ]
        row = [writer.xor(net, negative) for net in magnitude]
        row[-1] = writer.invert(row[-1])
        top = 2 * k + len(row) - 1
        rows.append({2 * k + j: net for j, net in enumerate(row) if 2 * k + j < width})
        strays.append((2 * k, negative))
        constant -= 1 << top
    strays += constant_row(constant % (1 << width), width).items()
    return place_bits(rows, strays)


def booth_multiples(writer: GateWriter, digits: Sequence[Digit], multiplicand: Sequence[Net], width: int) -> list[Row]:
    """Return one row for each digit, which selects 0, x, 2x, -x or -2x; -x is made once.

    So no row needs a correction bit, and the trailing zeros of x are zeros in all rows. Sign extensions are replaced as
    in `booth`. A row has two bits more than x, for twice the negative of the least x.
    """
    wide = [*multiplicand, multiplicand[-1]]
    negated, carry = list[Net](), ONE
    for net in wide:  # -x = ~x + 1
        inverted = writer.invert(net)
        negated.append(writer.xor(inverted, carry))
        carry = writer.and_(inverted, carry)
    rows: list[Row] = []
    constant = 0
    for k, (one, two, negative) in enumerate(digits):
        positive = writer.invert(negative)
        row = [ZERO] * (len(wide) + 1)
        for multiple, sign in ((wide, positive), (negated, negative)):
            once, twice = writer.and_(one, sign), writer.and_(two, sign)
            for j in range(len(row)):
                single = writer.and_(once, multiple[min(j, len(wide) - 1)])
                double = writer.and_(twice, multiple[j - 1]) if j else ZERO
                row[j] = writer.or_(row[j], writer.or_(single, double))
        row[-1] = writer.invert(row[-1])
        rows.append({2 * k + j: net for j, net in enumerate(row) if 2 * k + j < width})
        constant -= 1 << 2 * k + len(row) - 1
    return place_bits(rows, list(constant_row(constant % (1 << width), width).items()))


def magnitude_rows(writer: GateWriter, weight: Sequence[Net], activation: Sequence[Net], width: int) -> list[Row]:
    """Return the rows of |w| * (a xor s) + s |w| = w * a for a two's-complement weight w with the sign s.

    There is one row for each bit of |w|. Sign bits are inverted, and one constant row replaces all sign extensions.
    """
    sign = weight[-1]
    size, carry = list[Net](), sign
    for net in weight:  # |w| = (w xor s) + s
        flipped = writer.xor(net, sign)
        size.append(writer.xor(flipped, carry))
        carry = writer.and_(flipped, carry)
    turned = [writer.xor(a, sign) for a in activation]
    rows: list[Row] = []
    strays = [(i, writer.and_(sign, bit)) for i, bit in enumerate(size)]
    constant = 0
    for i, bit in enumerate(size):
        row = [writer.and_(bit, a) for a in turned]
        row[-1] = writer.invert(row[-1])
        rows.append({i + j: net for j, net in enumerate(row)})
        constant -= 1 << i + len(row) - 1
    return place_bits(rows, [*strays, *constant_row(constant % (1 << width), width).items()])


def sign_magnitude(writer: GateWriter, weight: Sequence[Net], activation: Sequence[Net], width: int) -> list[Row]:
    """Return the rows of |w| * (a xor s) + s |w| = w * a (as -a = ~a + 1): one row for each bit of |w|, one
    correction. The last bit of `weight` is the sign s.
    """
    *size, sign = weight
    flipped = [writer.xor(a, sign) for a in activation]
    rows: list[Row] = []
    for i, bit in enumerate(size):
        row = [writer.and_(bit, a) for a in flipped]
        rows.append({column: row[min(column - i, len(row) - 1)] for column in range(i, width)})
    return place_bits(rows, [(i, writer.and_(sign, bit)) for i, bit in enumerate(size)])
