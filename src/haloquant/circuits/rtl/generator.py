"""`generate` writes a multiply-accumulate unit (MAC) as Verilog text.

Its name is `<rows><tree>_<adder>-<stage>`, e.g. `boothwdadda_bk-mul`, `sxarray_rca-macks`, `bwdadda_ks-fused`. A unit
of the stage `cs4` has no such adder: `digitsdadda-cs4`, `boothwdaddaw3a8-cs4`, `onedigitw4a8-cs4`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from haloquant.circuits.ports import Encoding, MacPorts
from haloquant.circuits.rtl.adder_trees import ADDER_CELLS, GateWriter, Net, Row, Tree, compress
from haloquant.circuits.rtl.bypass import Bypass, bypass_modules, bypass_partitions, selection_lines
from haloquant.circuits.rtl.carry_adders import Adder, add, adder_title
from haloquant.circuits.rtl.carry_save import (
    accumulate_module,
    bypassed_modules,
    element_lines,
    element_result,
    one_digit_product,
    partial_registers,
    selected_words,
)
from haloquant.circuits.rtl.partial_products import (
    baugh_wooley,
    bits,
    booth,
    booth_multiples,
    encode_booth,
    magnitude_rows,
    sign_extended,
    sign_magnitude,
    stored_digits,
)
from haloquant.errors import NetlistError

Rows = Literal["boothw", "bootha", "boothm", "digits", "bw", "sx", "sm", "mag", "native", "onedigit"]
Stage = Literal["mul", "mac", "pipe", "fused", "save", "reg", "cs4"]

_SIGN_COLUMNS = 3
_HOLD = """\
module hold (input clk, input d, output reg q);
  always @(posedge clk) q <= d;
endmodule

"""

ROWS: dict[Rows, str] = {
    "boothw": "radix-4 Booth recoding of the weight",
    "bootha": "radix-4 Booth recoding of the activation",
    "boothm": "radix-4 Booth recoding of the activation, which selects multiples of the weight",
    "digits": "radix-4 Booth digits of the weight, stored instead of its bits",
    "bw": "Baugh-Wooley rows",
    "sx": "sign-extended rows",
    "sm": "sign-extended rows of a sign-magnitude weight",
    "mag": "rows of the weight's magnitude, which the unit computes, with inverted signs",
    "native": "the synthesizer's own *",
    "onedigit": "shift and negation by a weight that is 0 or a power of two",
}
_ENCODINGS: dict[Rows, Encoding] = {"digits": "booth_digits", "sm": "sign_magnitude", "onedigit": "one_digit"}
_LATENCY: dict[Stage, int] = {"pipe": 1, "save": 1, "reg": 2, "cs4": 2}


@dataclass(frozen=True, slots=True)
class MacSpec:
    """The specification of a MAC. Four weight bits with `sx` rows give the shift-and-add unit of mixed-precision
    designs.

    The stage `mul` is the multiplier alone. `mac` adds the partial sum in the same cycle. `pipe` has a register between
    the product and that adder. `fused` compresses the partial sum together with the rows. `save` has the register too,
    and then adds in carry-save form: partial sum and result are two words each, which one adder at the edge of the
    array adds up. `reg` is `save` with the registers of the partial sum: a whole processing element. `cs4` is one, too:
    it registers the product as two words, which no adder adds up, and accumulates them in carry-save form
    (`carry_save`).

    The rows `onedigit` hold the words 0, +-1, +-2 ... +-2**(weight_bits - 1) only, and need the stage `cs4`.
    """

    rows: Rows = "boothw"
    tree: Tree = "dadda"
    adder: Adder = "bk"
    stage: Stage = "mul"
    accumulator: Adder = "bk"  # the adder of `mac` and `pipe`
    bypass: Bypass = "none"  # bypasses around the tree, see `bypass`; only with the rows `digits`
    weight_bits: int = 8
    activation_bits: int = 8
    accumulator_bits: int = 24

    @property
    def name(self) -> str:
        """The name of the unit; different specifications have different names."""
        size = (
            "" if (self.weight_bits, self.activation_bits) == (8, 8) else f"w{self.weight_bits}a{self.activation_bits}"
        )
        structure = self.rows if self.rows in ("native", "onedigit") else f"{self.rows}{self.tree}"
        structure += "" if self.rows == "native" or self.stage == "cs4" else f"_{self.adder}"
        stage = self.stage + (self.accumulator if self.stage in ("mac", "pipe") else "")
        around = "" if self.bypass == "none" else f"+{self.bypass}"
        return f"{structure}{around}{size}-{stage}"

    @property
    def description(self) -> str:
        """A description of the unit in one line."""
        tree = {"array": "array", "dadda": "Dadda tree"}[self.tree]
        stage = {
            "mul": "multiplier alone",
            "mac": f"same-cycle {self.accumulator_bits}-bit {adder_title(self.accumulator)} accumulator",
            "pipe": f"register, then a {self.accumulator_bits}-bit {adder_title(self.accumulator)} accumulator",
            "fused": f"{self.accumulator_bits}-bit partial sum in the tree",
            "save": f"register, then a {self.accumulator_bits}-bit carry-save accumulator",
            "reg": f"register, then a {self.accumulator_bits}-bit carry-save accumulator, registers",
            "cs4": f"product registered as two words, {self.accumulator_bits}-bit carry-save accumulator, registers",
        }[self.stage]
        body = ROWS[self.rows] + ("" if self.rows in ("native", "onedigit") else f", {tree}")
        body += "" if self.rows == "native" or self.stage == "cs4" else f", {adder_title(self.adder)} adder"
        body += {
            "none": "",
            "lone": ", bypass for words of one digit",
            "upper": ", bypass for multiples of 16",
            "both": ", bypasses for words of one digit and for multiples of 16",
        }[self.bypass]
        return f"{self.weight_bits}x{self.activation_bits} signed: {body}; {stage}"


def ports_of(spec: MacSpec) -> MacPorts:
    """Return the ports of the module that `generate` writes for this specification."""
    product = spec.weight_bits + spec.activation_bits
    two_words = spec.stage in ("save", "reg", "cs4")
    pins = {"digits": -(-spec.weight_bits // 2) * 3, "onedigit": spec.weight_bits + 1}
    return MacPorts(
        partial=None if spec.stage == "mul" else "partial",
        clock="clk" if spec.stage in _LATENCY else None,
        weight_bits=pins.get(spec.rows, spec.weight_bits),
        activation_bits=spec.activation_bits,
        result_bits=product if spec.stage == "mul" else spec.accumulator_bits * (2 if two_words else 1),
        encoding=_ENCODINGS.get(spec.rows, "twos_complement"),
        latency=_LATENCY.get(spec.stage, 0),
        carry_save=two_words,
        partial_registered=spec.stage in ("reg", "cs4"),
    )


def generate(spec: MacSpec) -> str:
    """Return the Verilog of one unit: modules `fa` and `ha`, and the top module `mac` with ports as in `ports_of`.

    Raises:
        NetlistError: If this combination of rows, stage and bypass does not exist.
    """
    if spec.bypass != "none" and (spec.rows != "digits" or spec.stage == "fused" or spec.weight_bits != 8):
        raise NetlistError(
            "a bypass needs stored digits, 8-bit weights, and the stage mul, mac, pipe, save, reg or cs4"
        )
    if spec.rows == "native" and spec.stage in ("fused", "cs4"):
        raise NetlistError(f"the stage {spec.stage} needs rows of partial products, not native; use mac, pipe or save")
    if spec.rows == "onedigit" and spec.stage != "cs4":
        raise NetlistError(f"the rows onedigit need the stage cs4, not {spec.stage}")
    ports = ports_of(spec)
    writer = GateWriter()
    if spec.stage == "cs4":
        return _element(spec, ports, writer)
    product_bits = spec.weight_bits + spec.activation_bits
    width = ports.result_bits
    partial = bits("partial", width)
    if spec.stage == "fused":
        result = _sum(writer, spec, [*_rows(writer, spec, ports, width), dict(enumerate(partial))], width)
    else:
        result = _product(writer, spec, ports, product_bits)
    if spec.stage in ("pipe", "save", "reg"):
        result = _registered(writer, result, spec.accumulator_bits, _SIGN_COLUMNS if _holds_signs(spec) else None)
    if spec.stage == "save":
        width = spec.accumulator_bits
        rows = [dict(enumerate(word)) for word in (result, partial[:width], partial[width:])]
        lower, upper = compress(writer, rows, width, "dadda")
        result = [*lower, *upper]
    if spec.stage == "reg":
        width = spec.accumulator_bits
        addends = [dict(enumerate(result)), dict(enumerate(partial[:width])), dict(enumerate(partial[width + 1 :], 1))]
        lower, upper = compress(writer, addends, width, "dadda", even=True)
        writer.lines += partial_registers([*lower, *upper], width)
        result = element_result(width)
    if spec.stage in ("mac", "pipe"):
        extended = [*result, *[result[-1]] * (width - len(result))]
        writer.lines.append(f"wire [{width - 1}:0] total;")
        writer.lines.append(f"accumulate u_add (.x({_vector(extended)}), .y(partial), .total(total));")
        result = bits("total", width)
    return _module(spec, ports, [*writer.lines, f"assign result = {_vector(result)};"])


def partitions_of(spec: MacSpec) -> tuple[str, ...]:
    """Return the modules of the unit that must be synthesized alone, slowest first; empty for most units."""
    parts = () if spec.bypass == "none" else bypass_partitions(spec.bypass)
    if spec.stage in ("pipe", "cs4") or (parts and spec.stage == "mac"):
        parts = (*parts, "accumulate")
    return (*parts, "hold") if _holds_signs(spec) else parts


def _holds_signs(spec: MacSpec) -> bool:
    """Whether the second stage may be the slower one: after a bypass, or if it has a carry-propagate adder."""
    return spec.stage == "pipe" or (spec.stage in ("save", "reg") and spec.bypass != "none")


def _registered(writer: GateWriter, product: Sequence[Net], width: int, columns: int | None) -> list[Net]:
    """Return the product after its registers, sign-extended to `width`, with one sign register for each `columns`
    columns.

    In Nangate45 one flip-flop that drives all columns takes 155 ps from clock to output; one that drives three columns
    takes about 110 ps. The sign registers are separate modules, so that no tool merges them. If `columns` is None, one
    register holds the sign, as for the other bits.
    """
    if columns is None:
        writer.lines.append(f"reg [{len(product) - 1}:0] product;")
        writer.lines.append(f"always @(posedge clk) product <= {_vector(product)};")
        held = bits("product", len(product))
        return [*held, *[held[-1]] * (width - len(product))]
    low, sign = len(product) - 1, product[-1]
    writer.lines.append(f"reg [{low - 1}:0] product;")
    writer.lines.append(f"always @(posedge clk) product <= {_vector(product[:-1])};")
    copies = -(-(width - low) // columns)
    for copy in range(copies):
        writer.lines.append(f"wire sign{copy};")
        writer.lines.append(f"hold u_sign{copy} (.clk(clk), .d({sign}), .q(sign{copy}));")
    return [*bits("product", low), *[f"sign{column // columns}" for column in range(width - low)]]


def _accumulator(spec: MacSpec) -> str:
    writer = GateWriter()
    width = spec.accumulator_bits
    total = add(writer, spec.accumulator, bits("x", width), bits("y", width))
    body = "".join(f"  {line}\n" for line in writer.lines)
    ends = f"input [{width - 1}:0] x, input [{width - 1}:0] y, output [{width - 1}:0] total"
    return f"module accumulate ({ends});\n{body}  assign total = {_vector(total)};\nendmodule\n\n"


def _element(spec: MacSpec, ports: MacPorts, writer: GateWriter) -> str:
    """Return the Verilog of a processing element whose product stays in two words."""
    width = spec.accumulator_bits
    modules = ""
    if spec.rows == "onedigit":
        product = one_digit_product(writer, ports.weight_bits, bits("activation", spec.activation_bits), width)
    elif spec.bypass != "none":
        modules, product = bypassed_modules(spec.bypass, spec.tree, ports.weight_bits, spec.activation_bits, width)
        writer.lines += selected_words(spec.bypass, ports.weight_bits, spec.weight_bits + spec.activation_bits)
    else:
        product = compress(writer, _rows(writer, spec, ports, width), width, spec.tree)
    lines = [*writer.lines, *element_lines(product, width), f"assign result = {_vector(element_result(width))};"]
    return _module(spec, ports, lines, modules + accumulate_module(product, width))


def _rows(writer: GateWriter, spec: MacSpec, ports: MacPorts, width: int) -> list[Row]:
    weight, activation = bits("weight", ports.weight_bits), bits("activation", ports.activation_bits)
    if spec.rows == "sx":
        return sign_extended(writer, weight, activation, width)
    if spec.rows == "sm":
        return sign_magnitude(writer, weight, activation, width)
    if spec.rows == "mag":
        return magnitude_rows(writer, weight, activation, width)
    if spec.rows == "bw":
        return baugh_wooley(writer, weight, activation, width)
    if spec.rows == "bootha":
        return booth(writer, encode_booth(writer, activation), weight, width)
    if spec.rows == "boothm":
        return booth_multiples(writer, encode_booth(writer, activation), weight, width)
    if spec.rows == "digits":
        return booth(writer, stored_digits("weight", ports.weight_bits), activation, width)
    return booth(writer, encode_booth(writer, weight), activation, width)


def _product(writer: GateWriter, spec: MacSpec, ports: MacPorts, width: int) -> list[Net]:
    if spec.rows == "native":
        writer.lines.append(f"wire signed [{width - 1}:0] whole = $signed(weight) * $signed(activation);")
        return bits("whole", width)
    if spec.bypass != "none":
        writer.lines += selection_lines(spec.bypass, ports.weight_bits, width)
        return bits("chosen", width)
    return _sum(writer, spec, _rows(writer, spec, ports, width), width)


def _sum(writer: GateWriter, spec: MacSpec, rows: Sequence[Row], width: int) -> list[Net]:
    first, second = compress(writer, rows, width, spec.tree)
    return add(writer, spec.adder, first, second)


def _vector(nets: Sequence[Net]) -> str:
    return "{" + ", ".join(reversed(nets)) + "}"


def _module(spec: MacSpec, ports: MacPorts, lines: Sequence[str], modules: str = "") -> str:
    inputs = [(ports.weight, ports.weight_bits), (ports.activation, ports.activation_bits)]
    if ports.partial:
        inputs.append((ports.partial, ports.result_bits))
    declared = [f"input [{width - 1}:0] {name}" for name, width in inputs]
    if ports.clock:
        declared.append(f"input {ports.clock}")
    declared.append(f"output [{ports.result_bits - 1}:0] {ports.result}")
    head = f"// {spec.name}: {spec.description}\n{ADDER_CELLS}\n{modules}"
    if spec.bypass != "none" and spec.stage != "cs4":
        head += bypass_modules(spec.bypass, spec.tree, spec.adder, ports.weight_bits, spec.activation_bits)
    if spec.stage in ("mac", "pipe"):
        head += _accumulator(spec)
    if _holds_signs(spec):
        head += _HOLD
    head += f"module mac ({', '.join(declared)});\n"
    return head + "".join(f"  {line}\n" for line in lines) + "endmodule\n"
