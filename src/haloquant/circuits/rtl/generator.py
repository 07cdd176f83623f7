"""`generate` writes a multiply-accumulate unit (MAC) as Verilog text.

Its name is `<rows><tree>_<adder>-<stage>`, e.g. `boothwdadda_bk-mul`, `sxarray_rca-macks`, `bwdadda_ks-fused`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from haloquant.circuits.ports import Encoding, MacPorts
from haloquant.circuits.rtl.adder_trees import ADDER_CELLS, Adder, GateWriter, Net, Row, Tree, add, compress
from haloquant.circuits.rtl.bypass import Bypass, bypass_modules, bypass_partitions, selection_lines
from haloquant.circuits.rtl.partial_products import (
    baugh_wooley,
    bits,
    booth,
    encode_booth,
    sign_extended,
    sign_magnitude,
    stored_digits,
)
from haloquant.errors import NetlistError

Rows = Literal["boothw", "bootha", "digits", "bw", "sx", "sm", "native"]
Stage = Literal["mul", "mac", "pipe", "fused", "save"]

_SIGN_COLUMNS = 3
_HOLD = """\
module hold (input clk, input d, output reg q);
  always @(posedge clk) q <= d;
endmodule

"""

ROWS: dict[Rows, str] = {
    "boothw": "radix-4 Booth recoding of the weight",
    "bootha": "radix-4 Booth recoding of the activation",
    "digits": "radix-4 Booth digits of the weight, stored instead of its bits",
    "bw": "Baugh-Wooley rows",
    "sx": "sign-extended rows",
    "sm": "sign-extended rows of a sign-magnitude weight",
    "native": "the synthesizer's own *",
}


@dataclass(frozen=True, slots=True)
class MacSpec:
    """The specification of a MAC. Four weight bits with `sx` rows give the shift-and-add unit of mixed-precision
    designs.

    The stage `mul` is the multiplier alone. `mac` adds the partial sum in the same cycle. `pipe` has a register between
    the product and that adder. `fused` compresses the partial sum together with the rows. `save` has the register too,
    and then adds in carry-save form: partial sum and result are two words each, which one adder at the edge of the
    array adds up.
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
        structure = "native" if self.rows == "native" else f"{self.rows}{self.tree}_{self.adder}"
        stage = self.stage + (self.accumulator if self.stage in ("mac", "pipe") else "")
        around = "" if self.bypass == "none" else f"+{self.bypass}"
        return f"{structure}{around}{size}-{stage}"

    @property
    def description(self) -> str:
        """A description of the unit in one line."""
        tree = {"array": "array", "dadda": "Dadda tree"}[self.tree]
        adder = {"rca": "ripple", "bk": "Brent-Kung", "ks": "Kogge-Stone"}
        stage = {
            "mul": "multiplier alone",
            "mac": f"same-cycle {self.accumulator_bits}-bit {adder[self.accumulator]} accumulator",
            "pipe": f"register, then a {self.accumulator_bits}-bit {adder[self.accumulator]} accumulator",
            "fused": f"{self.accumulator_bits}-bit partial sum in the tree",
            "save": f"register, then a {self.accumulator_bits}-bit carry-save accumulator",
        }[self.stage]
        body = ROWS[self.rows] + ("" if self.rows == "native" else f", {tree}, {adder[self.adder]} adder")
        body += {
            "none": "",
            "lone": ", bypass for words of one digit",
            "upper": ", bypass for multiples of 16",
            "both": ", bypasses for words of one digit and for multiples of 16",
        }[self.bypass]
        return f"{self.weight_bits}x{self.activation_bits} signed: {body}; {stage}"


def ports_of(spec: MacSpec) -> MacPorts:
    """Return the ports of the module that `generate` writes for this specification."""
    encoding: Encoding = {"digits": "booth_digits", "sm": "sign_magnitude"}.get(spec.rows, "twos_complement")  # type: ignore[assignment]
    product = spec.weight_bits + spec.activation_bits
    return MacPorts(
        partial=None if spec.stage == "mul" else "partial",
        clock="clk" if spec.stage in ("pipe", "save") else None,
        weight_bits=-(-spec.weight_bits // 2) * 3 if spec.rows == "digits" else spec.weight_bits,
        activation_bits=spec.activation_bits,
        result_bits={"mul": product, "save": 2 * spec.accumulator_bits}.get(spec.stage, spec.accumulator_bits),
        encoding=encoding,
        latency=1 if spec.stage in ("pipe", "save") else 0,
        carry_save=spec.stage == "save",
    )


def generate(spec: MacSpec) -> str:
    """Return the Verilog of one unit: modules `fa` and `ha`, and the top module `mac` with ports as in `ports_of`.

    Raises:
        NetlistError: if this combination of rows, stage and bypass does not exist.
    """
    if spec.bypass != "none" and (spec.rows != "digits" or spec.stage == "fused" or spec.weight_bits != 8):
        raise NetlistError("a bypass needs stored digits, 8-bit weights, and the stage mul, mac, pipe or save")
    if spec.rows == "native" and spec.stage == "fused":
        raise NetlistError("a fused MAC needs rows of partial products, not native; use the stage mac or pipe")
    ports = ports_of(spec)
    writer = GateWriter()
    product_bits = spec.weight_bits + spec.activation_bits
    width = ports.result_bits
    partial = bits("partial", width)
    if spec.stage == "fused":
        result = _sum(writer, spec, [*_rows(writer, spec, ports, width), dict(enumerate(partial))], width)
    else:
        result = _product(writer, spec, ports, product_bits)
    if spec.stage in ("pipe", "save"):
        result = _registered(writer, result, spec.accumulator_bits, _SIGN_COLUMNS if _holds_signs(spec) else None)
    if spec.stage == "save":
        width = spec.accumulator_bits
        rows = [dict(enumerate(word)) for word in (result, partial[:width], partial[width:])]
        lower, upper = compress(writer, rows, width, "dadda")
        result = [*lower, *upper]
    if spec.stage in ("mac", "pipe"):
        extended = [*result, *[result[-1]] * (width - len(result))]
        writer.lines.append(f"wire [{width - 1}:0] total;")
        writer.lines.append(f"accumulate u_add (.x({_vector(extended)}), .y(partial), .total(total));")
        result = bits("total", width)
    return _module(spec, ports, [*writer.lines, f"assign result = {_vector(result)};"])


def partitions_of(spec: MacSpec) -> tuple[str, ...]:
    """Return the modules of the unit that must be synthesized alone, slowest first; empty for most units."""
    parts = () if spec.bypass == "none" else bypass_partitions(spec.bypass)
    if spec.stage == "pipe" or (parts and spec.stage == "mac"):
        parts = (*parts, "accumulate")
    return (*parts, "hold") if _holds_signs(spec) else parts


def _holds_signs(spec: MacSpec) -> bool:
    """Whether the second stage may be the slower one: after a bypass, or if it has a carry-propagate adder."""
    return spec.stage == "pipe" or (spec.stage == "save" and spec.bypass != "none")


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


def _rows(writer: GateWriter, spec: MacSpec, ports: MacPorts, width: int) -> list[Row]:
    weight, activation = bits("weight", ports.weight_bits), bits("activation", ports.activation_bits)
    if spec.rows == "sx":
        return sign_extended(writer, weight, activation, width)
    if spec.rows == "sm":
        return sign_magnitude(writer, weight, activation, width)
    if spec.rows == "bw":
        return baugh_wooley(writer, weight, activation, width)
    if spec.rows == "bootha":
        return booth(writer, encode_booth(writer, activation), weight, width)
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


def _module(spec: MacSpec, ports: MacPorts, lines: Sequence[str]) -> str:
    inputs = [(ports.weight, ports.weight_bits), (ports.activation, ports.activation_bits)]
    if ports.partial:
        inputs.append((ports.partial, ports.result_bits))
    declared = [f"input [{width - 1}:0] {name}" for name, width in inputs]
    if ports.clock:
        declared.append(f"input {ports.clock}")
    declared.append(f"output [{ports.result_bits - 1}:0] {ports.result}")
    head = f"// {spec.name}: {spec.description}\n{ADDER_CELLS}\n"
    if spec.bypass != "none":
        head += bypass_modules(spec.bypass, spec.tree, spec.adder, ports.weight_bits, spec.activation_bits)
    if spec.stage in ("mac", "pipe"):
        head += _accumulator(spec)
    if _holds_signs(spec):
        head += _HOLD
    head += f"module mac ({', '.join(declared)});\n"
    return head + "".join(f"  {line}\n" for line in lines) + "endmodule\n"
