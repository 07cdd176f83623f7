"""Processing elements that keep the product as two words and accumulate in carry-save form (stage `cs4`).

The tree of partial products ends in two words. No adder with a carry chain adds them. Both words are registered. The
module `accumulate` adds them to the partial sum, which consists of two words, too: a 4:2 compressor, two full adders
deep (a 3:2 compressor where the product is one row). The result is registered: these are the partial-sum registers of
the element. All sign bits of the rows are inverted, and the constant that replaces the sign extensions fills the upper
columns. A constant bit needs no register.

The upper word holds carries, so its bit 0 is always 0, in the partial sum and in the result.
"""

from collections.abc import Sequence

from haloquant.circuits.rtl.adder_trees import ONE, ZERO, GateWriter, Net, Row, Tree, compress
from haloquant.circuits.rtl.bypass import Bypass, bypass_partitions, idle_lines, own_pins
from haloquant.circuits.rtl.partial_products import bits, booth, stored_digits

Words = tuple[list[Net], list[Net]]
Product = Sequence[Sequence[Net]]  # two words, or more if the tree goes on behind the register
_CONSTANTS = (ZERO, ONE)


def element_lines(product: Product, width: int) -> list[str]:
    """Return the Verilog lines after the product: its registers, the accumulator, the partial-sum registers.

    Args:
        product: the words of the product, at most `width` nets each.
        width: width of a word of the partial sum.
    """
    held = [net for word in product for net in word if net not in _CONSTANTS]
    return [
        f"reg [{len(held) - 1}:0] product;",
        f"always @(posedge clk) product <= {_vector(held)};",
        f"wire [{2 * width - 1}:0] total;",
        "accumulate u_add (.x(product), .y(partial), .total(total));",
        *partial_registers(bits("total", 2 * width), width),
    ]


def partial_registers(total: Sequence[Net], width: int) -> list[str]:
    """Return the Verilog lines of the partial-sum registers; bit 0 of the upper word needs none."""
    moving = [*total[:width], *total[width + 1 :]]
    return [f"reg [{2 * width - 2}:0] sum;", f"always @(posedge clk) sum <= {_vector(moving)};"]


def element_result(width: int) -> list[Net]:
    """Return the nets of the result: the registered partial sum, with bit 0 of the upper word at 0."""
    return [*(f"sum[{i}]" for i in range(width)), ZERO, *(f"sum[{i}]" for i in range(width, 2 * width - 1))]


def accumulate_module(product: Product, width: int) -> str:
    """Return the Verilog of the module `accumulate`: partial sum plus the registered bits of the product.

    Args:
        product: the words of the product as `element_lines` gets them; only the places of constants count.
        width: width of a word of the partial sum.
    """
    writer = GateWriter()
    rows: list[Row] = []
    held = 0
    for word in product:
        nets = list(word)
        for column, net in enumerate(word):
            if net not in _CONSTANTS:
                nets[column], held = f"x[{held}]", held + 1
        rows.append({column: net for column, net in enumerate(nets) if net != ZERO})
    partial = bits("y", 2 * width)
    rows += [dict(enumerate(partial[:width])), dict(enumerate(partial[width + 1 :], 1))]
    lower, upper = compress(writer, rows, width, "dadda", even=True)
    body = "".join(f"  {line}\n" for line in writer.lines)
    ends = f"input [{held - 1}:0] x, input [{2 * width - 1}:0] y, output [{2 * width - 1}:0] total"
    return f"module accumulate ({ends});\n{body}  assign total = {_vector([*lower, *upper])};\nendmodule\n\n"


def one_digit_product(writer: GateWriter, pins: int, activation: Sequence[Net], width: int) -> Words:
    """Return the product with a weight that is 0 or a power of two: shift, and invert if the weight is negative.

    The last pin is the sign; pin k selects the shift by k. -x = ~x + 1, and the 1 is bit 0 of the second word.
    """
    *selects, negative = bits("weight", pins)
    top = len(activation) + len(selects) - 2
    row = _selected(writer, list(zip(range(len(selects)), selects, strict=True)), activation, top + 1)
    return _inverted(writer, row, negative, width)


def bypassed_modules(bypass: Bypass, tree: Tree, pins: int, activation_bits: int, width: int) -> tuple[str, Words]:
    """Return the Verilog of the modules of `bypass` with products of two words, and the words that are chosen.

    Every module has the outputs `lower` and `upper` of as many bits as an exact product. The columns above them are the
    same constants in all modules, which replace the sign extensions: ones in the lower word.
    """
    text = ""
    exact = pins // 3 * 2 + activation_bits
    for module in bypass_partitions(bypass):
        writer = GateWriter()
        activation = bits("activation", activation_bits)
        if module == "lone":
            words = _lone(writer, pins, activation, exact)
        else:
            own = own_pins(module, pins)
            shift = (pins - own) // 3 * 2
            rows: list[Row] = booth(writer, stored_digits("weight", own), activation, width - shift)
            lower, upper = compress(writer, rows, width - shift, tree)
            words = [ZERO] * shift + lower, [ZERO] * shift + upper
        body = "".join(f"  {line}\n" for line in writer.lines)
        text += (
            f"module {module} (input [{own_pins(module, pins) - 1}:0] weight, "
            f"input [{activation_bits - 1}:0] activation, "
            f"output [{exact - 1}:0] lower, output [{exact - 1}:0] upper);\n"
            f"{body}  assign lower = {_vector(words[0][:exact])};\n  assign upper = {_vector(words[1][:exact])};\n"
            "endmodule\n\n"
        )
    above = width - exact
    return text, (
        [*(f"chosen_lower[{i}]" for i in range(exact)), *[ONE] * above],
        [*(f"chosen_upper[{i}]" for i in range(exact)), *[ZERO] * above],
    )


def selected_words(bypass: Bypass, pins: int, exact: int) -> list[str]:
    """Return the Verilog lines of `chosen_lower` and `chosen_upper`: the modules, and one and-or level a word."""
    lines = idle_lines(bypass, pins)
    terms: dict[str, list[str]] = {"lower": [], "upper": []}
    for module in bypass_partitions(bypass):
        part = f"weight[{pins - 1}:{pins // 2}]" if module == "upper" else "weight"
        gated = f"{part} & {{{own_pins(module, pins)}{{is_{module}}}}}"
        lines.append(f"wire [{exact - 1}:0] lower_of_{module}, upper_of_{module};")
        lines.append(
            f"{module} u_{module} (.weight({gated}), .activation(activation), .lower(lower_of_{module}), "
            f".upper(upper_of_{module}));"
        )
        for word, found in terms.items():
            found.append(f"({{{exact}{{is_{module}}}}} & {word}_of_{module})")
    return [*lines, *(f"wire [{exact - 1}:0] chosen_{word} = {' | '.join(found)};" for word, found in terms.items())]


def _lone(writer: GateWriter, pins: int, activation: Sequence[Net], exact: int) -> Words:
    """Return the product with a one-digit weight whose digit is stored on three pins (one, two, negative)."""
    weight = bits("weight", pins)
    negative = ZERO
    selects: list[tuple[int, Net]] = []
    for k in range(0, pins, 3):
        selects += [(k // 3 * 2, weight[k]), (k // 3 * 2 + 1, weight[k + 1])]
        negative = writer.or_(negative, weight[k + 2])
    return _inverted(writer, _selected(writer, selects, activation, exact), negative, exact)


def _selected(
    writer: GateWriter, selects: Sequence[tuple[int, Net]], activation: Sequence[Net], columns: int
) -> list[Net]:
    """Return the activation, shifted by the place whose pin is 1 and sign-extended to `columns` columns."""
    row = [ZERO] * columns
    for shift, pin in selects:
        for column in range(shift, columns):
            term = writer.and_(pin, activation[min(column - shift, len(activation) - 1)])
            row[column] = writer.or_(row[column], term)
    return row


def _inverted(writer: GateWriter, row: Sequence[Net], negative: Net, width: int) -> Words:
    """Return two words of `width` bits for the row, inverted bit by bit where `negative`, plus `negative`.

    The sign bit in column t is inverted, and -2**t is added: ones from column t on.
    """
    lower = [writer.xor(net, negative) for net in row]
    lower[-1] = writer.invert(lower[-1])
    upper = [negative, *[ZERO] * (width - 1)]
    lower += [ONE] * (width - len(lower))
    upper[len(row) - 1] = ONE
    return lower, upper


def _vector(nets: Sequence[Net]) -> str:
    return "{" + ", ".join(reversed(nets)) + "}"
