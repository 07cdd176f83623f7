"""Dot-product elements: n products of static weights that share one carry-save accumulator.

An activation x comes as the unsigned u = x + 128, in multiples m u. The weight selects a multiple, shifts it and
inverts it if the weight is negative (~r = 2**t - 1 - r). So a product is one row of unsigned bits, or two rows in Booth
form.
There are no sign bits, no corrections and no constants: what they would add depends on the weights alone, which are
static, so the sum of a whole column's constants is taken off in its first partial sum (`ports.added_constants`).

The rows of all products are added up by one tree to `cut` words. These are registered, and the module `accumulate` adds
them to the partial sum of two words. The multiples 3 u, 5 u and 7 u are made once for each row of the array, by the
module of `multiples_verilog`, and run along the row.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

from haloquant.circuits.ports import MacPorts, multiple_and_shift, multiple_bits, shifts_of
from haloquant.circuits.rtl.adder_trees import ADDER_CELLS, ZERO, GateWriter, Net, Row, reduce_rows
from haloquant.circuits.rtl.carry_adders import add
from haloquant.circuits.rtl.carry_save import accumulate_module, element_lines, element_result
from haloquant.circuits.rtl.partial_products import bits
from haloquant.circuits.rtl.partial_products import stored_digits as digit_pins
from haloquant.errors import NetlistError

DotRows = Literal["booth4", "onedigit", "e2m1", "int4m"]
PRODUCTS = (1, 4, 8, 16)
CUTS = (2, 4)
_MAGNITUDES: Mapping[DotRows, tuple[int, ...]] = {"onedigit": (1, 2, 4, 8), "e2m1": (1, 2, 3, 4, 6, 8, 12)}
_MULTIPLES: Mapping[DotRows, tuple[int, ...]] = {
    "booth4": (1,), "onedigit": (1,), "e2m1": (1, 3), "int4m": (1, 3, 5, 7),
}  # fmt: skip
_DESCRIPTIONS: Mapping[DotRows, str] = {
    "booth4": "4-bit integers in two Booth rows",
    "onedigit": "words of one row, 0 and +-1 2 4 8",
    "e2m1": "words of one row, 0 and +-1 2 3 4 6 8 12, with 3a from outside",
    "int4m": "4-bit integers in one row, with 3a, 5a and 7a from outside",
}


@dataclass(frozen=True, slots=True)
class DotSpec:
    """The specification of a dot-product element.

    `rows` says which words it multiplies and how. `products` share the accumulator. `cut` is the number of words that
    are registered: 2, or 4 where a part of the tree goes into the second stage.
    """

    rows: DotRows
    products: int = 8
    cut: int = 2
    activation_bits: int = 8
    accumulator_bits: int = 24

    @property
    def name(self) -> str:
        """The name of the element; different specifications have different names."""
        return f"{self.rows}x{self.products}" + ("" if self.cut == 2 else f"c{self.cut}") + "-dot"

    @property
    def description(self) -> str:
        """A description of the element in one line."""
        return (
            f"{self.products} products of {_DESCRIPTIONS[self.rows]}, that share one {self.accumulator_bits}-bit "
            f"carry-save accumulator; {self.cut} words registered"
        )


def dot_specs() -> dict[str, DotSpec]:
    """Return every dot-product element that is offered, by name."""
    specs = [
        DotSpec(rows, products, cut)
        for rows in _MULTIPLES
        for products in PRODUCTS
        for cut in CUTS
        if cut == 2 or products * (2 if rows == "booth4" else 1) > cut
    ]
    return {spec.name: spec for spec in specs}


def dot_ports(spec: DotSpec) -> MacPorts:
    """Return the ports of the module that `generate_dot` writes for this specification."""
    common = MacPorts(
        clock="clk",
        weight_bits=6,
        activation_bits=spec.activation_bits,
        result_bits=2 * spec.accumulator_bits,
        encoding="booth_digits",
        latency=2,
        carry_save=True,
        partial_registered=True,
        products=spec.products,
        multiples=_MULTIPLES[spec.rows],
    )
    if spec.rows == "booth4":
        return common
    magnitudes = _MAGNITUDES.get(spec.rows, range(1, 9))
    words = tuple(sorted({0, *magnitudes, *(-m for m in magnitudes)} - ({8} if spec.rows == "int4m" else set())))
    selected = replace(common, encoding="multiple_shift", words=words)
    pins = shifts_of(selected) + 1 + (len(selected.multiples) if len(selected.multiples) > 1 else 0)
    return replace(selected, weight_bits=pins)


def generate_dot(spec: DotSpec) -> str:
    """Return the Verilog of one element: modules `fa`, `ha` and `accumulate`, and the top module `mac`."""
    ports, writer = dot_ports(spec), GateWriter()
    rows: list[Row] = []
    weight, activation = bits("weight", ports.weight_width), bits("activation", ports.activation_width)
    for product in range(spec.products):
        first, pin = product * ports.activation_pins, product * ports.weight_bits
        pins = weight[pin : pin + ports.weight_bits]
        multiples: list[list[Net]] = []
        for width in multiple_bits(ports):
            multiples.append(activation[first : first + width])
            first += width
        rows += (
            _booth_rows(writer, pins, multiples[0]) if spec.rows == "booth4" else _row(writer, ports, pins, multiples)
        )
    words = reduce_rows(writer, rows, sum_bits(spec), spec.cut)
    width = spec.accumulator_bits
    lines = [*writer.lines, *element_lines(words, width)]
    lines.append("assign result = {" + ", ".join(reversed(element_result(width))) + "};")
    declared = (
        f"input [{ports.weight_width - 1}:0] weight, input [{ports.activation_width - 1}:0] activation, "
        f"input [{2 * width - 1}:0] partial, input clk, output [{2 * width - 1}:0] result"
    )
    head = f"// {spec.name}: {spec.description}\n{ADDER_CELLS}\n{accumulate_module(words, width)}"
    return head + f"module mac ({declared});\n" + "".join(f"  {line}\n" for line in lines) + "endmodule\n"


def sum_bits(spec: DotSpec) -> int:
    """Return the bits of the largest sum of all rows: rows are unsigned, and an inverted row may be all ones.

    Raises:
        NetlistError: The sum is wider than the accumulator.
    """
    ports = dot_ports(spec)
    unsigned = (1 << spec.activation_bits) - 1
    if spec.rows == "booth4":
        most = 5 * (2 * unsigned + 1)  # two rows of nine bits, the upper one shifted by two
    else:
        most = (1 << (max(abs(word) for word in ports.words) * unsigned).bit_length()) - 1
    width = (spec.products * most).bit_length()
    if width > spec.accumulator_bits:
        raise NetlistError(f"a sum of {spec.products} products must fit {spec.accumulator_bits} bits, not take {width}")
    return width


def multiples_verilog(multiples: tuple[int, ...], activation_bits: int = 8) -> str:
    """Return the Verilog of a module that registers multiples of an unsigned activation, its start of an array's row.

    Each of 3, 5 and 7 takes one Kogge-Stone adder: u + 2u, u + 4u, 8u - u. The port `weight` is not read; it makes the
    module a netlist like the others.

    Raises:
        NetlistError: A multiple is not 1, 3, 5 or 7.
    """
    writer = GateWriter()
    unsigned = bits("activation", activation_bits)
    made: list[Net] = []
    for multiple in multiples:
        width = (multiple * ((1 << activation_bits) - 1)).bit_length()
        made += _multiple(writer, unsigned, multiple, width)
    count = len(made)
    lines = "".join(f"  {line}\n" for line in writer.lines)
    return (
        f"// multiples {', '.join(map(str, multiples))} of an unsigned activation, registered\n{ADDER_CELLS}\n"
        f"module mac (input weight, input [{activation_bits - 1}:0] activation, input clk, "
        f"output reg [{count - 1}:0] result);\n{lines}"
        f"  always @(posedge clk) result <= {{{', '.join(reversed(made))}}};\nendmodule\n"
    )


def multiples_ports(multiples: tuple[int, ...], activation_bits: int = 8) -> MacPorts:
    """Return the ports of the module of `multiples_verilog`."""
    widths = [(multiple * ((1 << activation_bits) - 1)).bit_length() for multiple in multiples]
    return MacPorts(
        partial=None, clock="clk", weight_bits=1, activation_bits=activation_bits, result_bits=sum(widths), latency=1
    )


def _multiple(writer: GateWriter, unsigned: list[Net], multiple: int, width: int) -> list[Net]:
    def shifted(places: int, negative: bool = False) -> list[Net]:
        nets = [*[ZERO] * places, *unsigned, *[ZERO] * width][:width]
        return [writer.invert(net) for net in nets] if negative else nets

    if multiple == 1:
        return list(unsigned)
    if multiple not in (3, 5, 7):
        raise NetlistError(f"a multiple of the activation must be 1, 3, 5 or 7, not {multiple}")
    if multiple == 7:
        return add(writer, "ks", shifted(3), shifted(0, negative=True), "1'b1")
    return add(writer, "ks", shifted(0), shifted(1 if multiple == 3 else 2))


def _booth_rows(writer: GateWriter, pins: list[Net], unsigned: list[Net]) -> list[Row]:
    """Return one row of unsigned bits for each stored digit: 0, u or 2 u, inverted if the digit is negative."""
    rows: list[Row] = []
    named = {f"weight[{i}]": net for i, net in enumerate(pins)}
    for place, digit in enumerate(digit_pins("weight", len(pins))):
        one, two, negative = (named[pin] for pin in digit)
        row: dict[int, Net] = {}
        for column in range(len(unsigned) + 1):
            same = writer.and_(one, unsigned[column]) if column < len(unsigned) else ZERO
            lower = writer.and_(two, unsigned[column - 1]) if column else ZERO
            row[2 * place + column] = writer.xor(writer.or_(same, lower), negative)
        rows.append(row)
    return rows


def _row(writer: GateWriter, ports: MacPorts, pins: list[Net], multiples: list[list[Net]]) -> list[Row]:
    """Return the row of a product: a multiple, then a shift, then an inversion."""
    several = len(multiples) if len(multiples) > 1 else 0
    selects, shifts, negative = pins[:several], pins[several:-1], pins[-1]
    width = max(len(nets) for nets in multiples)
    chosen: list[Net] = []
    for place in range(width):
        nets = [nets[place] if place < len(nets) else ZERO for nets in multiples]
        if not several:
            chosen.append(nets[0])
            continue
        bit = ZERO
        for select, net in zip(selects, nets, strict=True):
            bit = writer.or_(bit, writer.and_(select, net))
        chosen.append(bit)
    # Only shifts of words that exist reach a column; the others would be multiplexer inputs that are always 0.
    reach = [0] * len(shifts)
    for word in ports.words:
        if word:
            place, shift = multiple_and_shift(ports, word)
            reach[shift] = max(reach[shift], len(multiples[place]))
    columns = max(shift + length for shift, length in enumerate(reach))
    row: dict[int, Net] = {}
    for column in range(columns):
        bit = ZERO
        for shift, pin in enumerate(shifts):
            if 0 <= column - shift < reach[shift]:
                bit = writer.or_(bit, writer.and_(pin, chosen[column - shift]))
        row[column] = writer.xor(bit, negative)
    return [row]
