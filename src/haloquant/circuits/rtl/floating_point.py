"""A floating-point processing element: product of two narrow numbers, added to a wider partial sum, rounded once.

The element computes round(weight * activation + partial). With the default widths the operands are bfloat16 and the
partial sum is IEEE 754 binary32, as in the matrix units of today's accelerators. The product is exact. Rounding is to
nearest, ties to even. Numbers below the normal range are zero, as operands and as results; a result of zero is +0. A
result above the range has an exponent of ones and a fraction of zeros. Infinities and NaNs are no operands.

Ten steps lead from the operands to the sum. Registers stand after the steps in `CUTS`, and at the result. In a column
of such elements the partial sum of the element before enters at step 3.

1. The significands' partial products are compressed to two words, and the exponents are added.
2. The two words are added.
3. The exponents are compared.
4. The addends are put in order.
5. The addend of the smaller exponent is shifted to the right. What is shifted out sets the last bit.
6. The addends are added, or subtracted: sum and sum + 1 are made together, so that a negative one needs no third adder.
7. The magnitude is chosen. In 7, 8 and 9 zeros before the first one are shifted out.
10. The significand is rounded, and the number is put together.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from haloquant.circuits.ports import MacPorts
from haloquant.circuits.rtl.adder_trees import ADDER_CELLS, ONE, GateWriter, Net, Row, compress
from haloquant.circuits.rtl.carry_adders import add, add_both
from haloquant.circuits.rtl.partial_products import bits
from haloquant.errors import NetlistError

CUTS: Mapping[int, tuple[int, ...]] = {5: (2, 4, 6, 8), 7: (1, 2, 4, 5, 6, 8), 10: tuple(range(1, 10))}
_GUARD = 3  # bits below the significand: guard, round and sticky


@dataclass(frozen=True, slots=True)
class FloatSpec:
    """The specification of a floating-point element.

    `exponent_bits` and `fraction_bits` are those of weight and activation; the partial sum has the same exponent and
    `sum_fraction_bits`. `stages` is the number of pipeline stages, a key of `CUTS`.
    """

    exponent_bits: int = 8
    fraction_bits: int = 7
    sum_fraction_bits: int = 23
    stages: int = 5

    @property
    def name(self) -> str:
        """The name of the element; different specifications have different names."""
        size = "bf16" if self.operand_bits == 16 else f"e{self.exponent_bits}m{self.fraction_bits}"
        wide = "" if self.sum_fraction_bits == 23 else f"s{self.sum_fraction_bits}"
        return f"{size}{wide}p{self.stages}-fma"

    @property
    def description(self) -> str:
        """A description of the element in one line."""
        wide = 1 + self.exponent_bits + self.sum_fraction_bits
        return (
            f"floating point: {self.operand_bits}-bit product added to a {wide}-bit partial sum, rounded to nearest; "
            f"{self.stages} pipeline stages"
        )

    @property
    def operand_bits(self) -> int:
        """Bits of a weight and of an activation."""
        return 1 + self.exponent_bits + self.fraction_bits


def float_specs() -> dict[str, FloatSpec]:
    """Return every floating-point element that is offered, by name: bfloat16 with each number of stages."""
    return {spec.name: spec for spec in (FloatSpec(stages=stages) for stages in CUTS)}


def float_ports(spec: FloatSpec) -> MacPorts:
    """Return the ports of the module that `generate_float` writes: numbers stand on the pins as bit patterns."""
    return MacPorts(
        clock="clk",
        weight_bits=spec.operand_bits,
        activation_bits=spec.operand_bits,
        result_bits=1 + spec.exponent_bits + spec.sum_fraction_bits,
        latency=len(CUTS[spec.stages]) + 1,
        partial_registered=True,
        floating=(spec.exponent_bits, spec.fraction_bits),
    )


def generate_float(spec: FloatSpec) -> str:
    """Return the Verilog of one element: modules `fa` and `ha`, and the top module `mac`.

    Raises:
        NetlistError: The partial sum has fewer fraction bits than the exact product.
    """
    if spec.sum_fraction_bits < 2 * spec.fraction_bits:
        raise NetlistError(
            f"the partial sum must have at least {2 * spec.fraction_bits} fraction bits, those of the product, "
            f"not {spec.sum_fraction_bits}"
        )
    flow = _Flow()
    for number, (step, _) in enumerate(_STEPS, 1):
        step(spec, flow)
        if number in CUTS[spec.stages]:
            flow.register(number, {name for _, reads in _STEPS[number:] for name in reads})
    width = float_ports(spec).result_bits
    ports = (
        f"input [{spec.operand_bits - 1}:0] weight, input [{spec.operand_bits - 1}:0] activation, "
        f"input [{width - 1}:0] partial, input clk, output reg [{width - 1}:0] result"
    )
    lines = "".join(f"  {line}\n" for line in flow.writer.lines)
    head = f"// {spec.name}: {spec.description}\n{ADDER_CELLS}\n"
    return f"{head}module mac ({ports});\n{lines}  always @(posedge clk) result <= rounded;\nendmodule\n"


class _Flow:
    """Collects the lines of the module, and knows which net carries each signal at the step that is written."""

    def __init__(self) -> None:
        self.writer = GateWriter()
        self.nets: dict[str, tuple[str, int]] = {}

    def __getitem__(self, name: str) -> str:
        return self.nets[name][0]

    def set(self, name: str, width: int, expression: str) -> None:
        """Write a signal of `width` bits."""
        self.writer.lines.append(f"wire [{width - 1}:0] {name} = {expression};")
        self.nets[name] = name, width

    def set_bits(self, name: str, nets: list[Net]) -> None:
        """Write a signal from single bits, least significant first."""
        self.set(name, len(nets), "{" + ", ".join(reversed(nets)) + "}")

    def of(self, name: str) -> list[Net]:
        """Return the bits of a signal."""
        return bits(*self.nets[name])

    def register(self, number: int, read: Iterable[str]) -> None:
        """Register every signal that a later step reads."""
        for name in sorted(set(read) & set(self.nets)):
            net, width = self.nets[name]
            later = f"{name}_{number}"
            self.writer.lines.append(f"reg [{width - 1}:0] {later}; always @(posedge clk) {later} <= {net};")
            self.nets[name] = later, width


def _signed_bits(spec: FloatSpec) -> int:
    """Return the bits of a signed exponent: that of a product, and the one below all others, fit in."""
    return spec.exponent_bits + 3


def _window(spec: FloatSpec) -> int:
    """Return the bits of an addend: two before the point, the fraction, and those below it."""
    return spec.sum_fraction_bits + 2 + _GUARD


def _multiply(spec: FloatSpec, flow: _Flow) -> None:
    count, top = spec.fraction_bits, spec.operand_bits - 1
    operands = [[*bits(name, count), ONE] for name in ("weight", "activation")]
    rows: list[Row] = [
        {i + j: flow.writer.and_(w, a) for i, a in enumerate(operands[1])} for j, w in enumerate(operands[0])
    ]
    lower, upper = compress(flow.writer, rows, 2 * count + 2, "dadda")
    flow.set_bits("lower", lower)
    flow.set_bits("upper", upper)
    exponents = [f"{name}[{top - 1}:{count}]" for name in ("weight", "activation")]
    flow.set("exponents", spec.exponent_bits + 1, " + ".join(f"{{1'b0, {each}}}" for each in exponents))
    flow.set("zero", 1, " | ".join(f"~|{each}" for each in exponents))
    flow.set("product_sign", 1, f"weight[{top}] ^ activation[{top}]")


def _add_words(spec: FloatSpec, flow: _Flow) -> None:
    flow.set_bits("product", add(flow.writer, "ks", flow.of("lower"), flow.of("upper")))
    width, bias = _signed_bits(spec), (1 << (spec.exponent_bits - 1)) - 1
    lowest = f"{{2'b11, {{{width - 2}{{1'b0}}}}}}"  # below every other exponent, so that a product of 0 is shifted out
    flow.set("exponent", width, f"{flow['zero']} ? {lowest} : {{2'b00, {flow['exponents']}}} - {width}'d{bias}")


def _compare(spec: FloatSpec, flow: _Flow) -> None:
    width, fraction = _signed_bits(spec), spec.sum_fraction_bits
    flow.set("sum_exponent", width, f"{{3'b000, partial[{fraction + spec.exponent_bits - 1}:{fraction}]}}")
    product, partial = flow["exponent"], flow["sum_exponent"]
    flow.set("above", width, f"{product} - {partial}")
    flow.set("below", width, f"{partial} - {product}")
    below = fraction - 2 * spec.fraction_bits
    padded = f"{{{flow['product']}, {{{below}{{1'b0}}}}}}" if below else flow["product"]
    flow.set("from_product", fraction + 2, padded)
    flow.set("from_sum", fraction + 2, f"{{1'b0, |sum_exponent, partial[{fraction - 1}:0]}}")
    flow.set("sum_sign", 1, f"partial[{fraction + spec.exponent_bits}]")


def _order(spec: FloatSpec, flow: _Flow) -> None:
    width, fraction = _signed_bits(spec), spec.sum_fraction_bits
    swap = f"{flow['above']}[{width - 1}]"
    flow.set("larger", width, f"{swap} ? {flow['sum_exponent']} : {flow['exponent']}")
    flow.set("distance", width, f"{swap} ? {flow['below']} : {flow['above']}")
    shift = _window(spec).bit_length()
    far = f"|distance[{width - 1}:{shift}]" if shift < width else "1'b0"
    flow.set("shift", shift, f"distance[{shift - 1}:0] | {{{shift}{{{far}}}}}")
    flow.set("big", fraction + 2, f"{swap} ? {flow['from_sum']} : {flow['from_product']}")
    flow.set("smaller", fraction + 2, f"{swap} ? {flow['from_product']} : {flow['from_sum']}")
    flow.set("big_sign", 1, f"{swap} ? {flow['sum_sign']} : {flow['product_sign']}")
    flow.set("subtract", 1, f"{flow['sum_sign']} ^ {flow['product_sign']}")


def _align(spec: FloatSpec, flow: _Flow) -> None:
    """Shift by the largest power of two first: then few bits can be lost late."""
    width, value = _window(spec), "moved"
    flow.set("moved", width, f"{{{flow['smaller']}, {_GUARD}'b0}}")
    sticky = list[str]()
    for level, select in reversed(list(enumerate(flow.of("shift")))):
        lost = min(1 << level, width)
        flow.set(f"lost{level}", 1, f"{select} & (|{value}[{lost - 1}:0])")
        sticky.append(f"lost{level}")
        shifted = f"{{{{{lost}{{1'b0}}}}, {value}[{width - 1}:{lost}]}}" if lost < width else f"{width}'b0"
        flow.set(f"moved{level}", width, f"{select} ? {shifted} : {value}")
        value = f"moved{level}"
    flow.set("aligned", width, f"{{{value}[{width - 1}:1], {value}[0] | {' | '.join(sticky)}}}")


def _add_aligned(spec: FloatSpec, flow: _Flow) -> None:
    width = _window(spec) + 1
    flow.set("addend", width, f"{{1'b0, {flow['aligned']}}} ^ {{{width}{{{flow['subtract']}}}}}")
    flow.set("augend", width, f"{{1'b0, {flow['big']}, {_GUARD}'b0}}")
    whole, more, carry = add_both(flow.writer, flow.of("augend"), flow.of("addend"))
    flow.set_bits("total", whole)
    flow.set_bits("total_plus_1", more)
    flow.set("carry", 1, carry)


def _choose(spec: FloatSpec, flow: _Flow) -> None:
    width, subtract = _window(spec) + 1, flow["subtract"]
    flow.set("negative", 1, f"{subtract} & ~{flow['carry']}")
    flow.set("positive", 1, f"{subtract} & {flow['carry']}")
    flow.set(
        "magnitude", width,
        f"({{{width}{{negative}}}} & ~{flow['total']}) | ({{{width}{{positive}}}} & {flow['total_plus_1']}) | "
        f"({{{width}{{~{subtract}}}}} & {flow['total']})",
    )  # fmt: skip
    flow.set("sign", 1, f"{flow['big_sign']} ^ negative")
    flow.nets["normal"] = flow.nets["magnitude"]
    _shift_zeros_out(spec, flow, range(1))


def _count(spec: FloatSpec, flow: _Flow) -> None:
    _shift_zeros_out(spec, flow, range(1, 3))


def _normalize(spec: FloatSpec, flow: _Flow) -> None:
    _shift_zeros_out(spec, flow, range(3, _window(spec).bit_length()))


def _shift_zeros_out(spec: FloatSpec, flow: _Flow, places: range) -> None:
    """Shift the first one towards the top; place 0 shifts by the largest power of two."""
    width, levels, value = _window(spec) + 1, _window(spec).bit_length(), flow["normal"]
    for place in places:
        shift = 1 << (levels - 1 - place)
        flow.set(f"zeros{place}", 1, f"~|{value}[{width - 1}:{width - shift}]")
        moved = f"{{{value}[{width - 1 - shift}:0], {{{shift}{{1'b0}}}}}}"
        flow.set(f"normal{place}", width, f"zeros{place} ? {moved} : {value}")
        value = f"normal{place}"
        flow.nets["normal"] = flow.nets[value]


def _round(spec: FloatSpec, flow: _Flow) -> None:
    """Round the significand; the exponents with and without its carry are made beside it."""
    width, signed = _window(spec) + 1, _signed_bits(spec)
    fraction, exponent = spec.sum_fraction_bits, spec.exponent_bits
    value, top = flow["normal"], width - 1
    guard = top - fraction - 1
    flow.set("up", 1, f"{value}[{guard}] & ({value}[{guard + 1}] | (|{value}[{guard - 1}:0]))")
    flow.set("fraction", fraction, f"{value}[{top - 1}:{guard + 1}] + up")
    flow.set("overflows", 1, f"up & (&{value}[{top}:{guard + 1}])")
    counted = ", ".join(flow[f"zeros{place}"] for place in range(_window(spec).bit_length()))
    for name, more in (("kept", 2), ("raised", 3)):
        flow.set(name, signed, f"{flow['larger']} + {signed}'d{more} - {{{counted}}}")
        flow.set(f"{name}_none", 1, f"{name}[{signed - 1}] | (~|{name})")
        flow.set(f"{name}_over", 1, f"(|{name}[{signed - 2}:{exponent}]) | (&{name}[{exponent - 1}:0])")
    flow.set("none", 1, f"~{value}[{top}] | (overflows ? raised_none : kept_none)")
    flow.set("over", 1, "overflows ? raised_over : kept_over")
    flow.set("power", exponent, f"overflows ? raised[{exponent - 1}:0] : kept[{exponent - 1}:0]")
    total = 1 + exponent + fraction
    number = f"{{{flow['sign']}, power | {{{exponent}{{over}}}}, fraction & {{{fraction}{{~over}}}}}}"
    flow.set("rounded", total, f"{number} & {{{total}{{~none}}}}")


# Each step, and the signals of earlier steps that it reads.
_STEPS: tuple[tuple[Callable[[FloatSpec, _Flow], None], tuple[str, ...]], ...] = (
    (_multiply, ()),
    (_add_words, ("lower", "upper", "exponents", "zero")),
    (_compare, ("product", "exponent")),
    (_order, ("above", "below", "from_product", "from_sum", "sum_exponent", "exponent", "sum_sign", "product_sign")),
    (_align, ("smaller", "shift")),
    (_add_aligned, ("aligned", "big", "subtract")),
    (_choose, ("total", "total_plus_1", "carry", "subtract", "big_sign")),
    (_count, ("normal",)),
    (_normalize, ("normal",)),
    (_round, ("normal", "larger", "sign", *(f"zeros{place}" for place in range(9)))),
)
