"""Multipliers with bypasses around the adder tree for weights with few digits, which can then run at a faster clock.

The weight is stored as four radix-4 digits. The module `whole` multiplies with all four digits. A weight with at most
one non-zero digit (0 and the powers of two) needs no addition: the module `lone` shifts the activation, and negates it
if the digit is negative. A weight whose two lower digits are zero (the multiples of 16, an INT4 grid) needs one
addition: the module `upper`. The last gates select one of the modules by the weight. The weight is constant, so its
timing contains only the selected module. The other modules get the weight zero and do not toggle. The gate for this
is at the constant weight pins, so it adds no delay. Each module must be synthesized alone to its own period
(`partitions` of `eda.yosys.synthesize`).
"""

from collections.abc import Sequence
from typing import Literal

from haloquant.circuits.rtl.adder_trees import ZERO, GateWriter, Net, Tree, compress
from haloquant.circuits.rtl.carry_adders import Adder, add
from haloquant.circuits.rtl.partial_products import bits, booth, stored_digits

Bypass = Literal["none", "lone", "upper", "both"]


def bypass_partitions(bypass: Bypass) -> tuple[str, ...]:
    """Return the names of the modules that must be synthesized alone, slowest first."""
    return {"none": (), "lone": ("whole", "lone"), "upper": ("whole", "upper"), "both": ("whole", "upper", "lone")}[
        bypass
    ]


def bypass_modules(bypass: Bypass, tree: Tree, adder: Adder, pins: int, activation_bits: int) -> str:
    """Return the Verilog of the modules that `selection_lines` uses."""
    text = ""
    for module in bypass_partitions(bypass):
        writer = GateWriter()
        activation = bits("activation", activation_bits)
        if module == "lone":
            width = pins // 3 * 2 + activation_bits
            result = _lone(writer, pins, activation, width)
        else:
            own = pins if module == "whole" else pins // 2
            width = own // 3 * 2 + activation_bits
            rows = booth(writer, stored_digits("weight", own), activation, width)
            result = add(writer, adder, *compress(writer, rows, width, tree))
        body = "".join(f"  {line}\n" for line in writer.lines)
        inputs = f"input [{own_pins(module, pins) - 1}:0] weight, input [{activation_bits - 1}:0] activation"
        product = "{" + ", ".join(reversed(result)) + "}"
        text += f"module {module} ({inputs}, output [{width - 1}:0] product);\n{body}"
        text += f"  assign product = {product};\nendmodule\n\n"
    return text


def selection_lines(bypass: Bypass, pins: int, width: int) -> list[str]:
    """Return the Verilog lines of the wire `chosen`: the modules, and one and-or level that selects one of them."""
    half, shift = pins // 2, pins // 6 * 2
    lines = idle_lines(bypass, pins)
    terms: list[str] = []
    for module in bypass_partitions(bypass):
        part, low = (f"weight[{pins - 1}:{half}]", shift) if module == "upper" else ("weight", 0)
        gated = f"{part} & {{{own_pins(module, pins)}{{is_{module}}}}}"
        lines.append(f"wire [{width - low - 1}:0] of_{module};")
        lines.append(f"{module} u_{module} (.weight({gated}), .activation(activation), .product(of_{module}));")
        product = f"{{of_{module}, {low}'b0}}" if low else f"of_{module}"
        terms.append(f"({{{width}{{is_{module}}}}} & {product})")
    lines.append(f"wire [{width - 1}:0] chosen = {' | '.join(terms)};")
    return lines


def idle_lines(bypass: Bypass, pins: int) -> list[str]:
    """Return the Verilog lines of the wires `is_lone`, `is_upper` and `is_whole`, exactly one of which is 1."""
    digits = pins // 3
    lines = [f"wire idle{k} = ~(weight[{3 * k}] | weight[{3 * k + 1}]);" for k in range(digits)]
    others = [" & ".join(f"idle{j}" for j in range(digits) if j != k) for k in range(digits)]
    lone = " | ".join(f"({term})" for term in others) if bypass in ("lone", "both") else "1'b0"
    upper = " & ".join(f"idle{k}" for k in range(digits // 2)) if bypass in ("upper", "both") else "1'b0"
    lines.append(f"wire is_lone = {lone};")
    lines.append(f"wire is_upper = {upper} & ~is_lone;")
    lines.append("wire is_whole = ~is_lone & ~is_upper;")
    return lines


def own_pins(module: str, pins: int) -> int:
    """Return the number of weight pins of a module: `upper` takes the upper half."""
    return pins // 2 if module == "upper" else pins


def _lone(writer: GateWriter, pins: int, activation: Sequence[Net], width: int) -> list[Net]:
    """Return the product with a one-digit weight: (-1)**negative * activation, shifted to the place of the digit.

    Only the negation needs a carry chain: -a has the bits a[i] xor (a[i-1] or ... or a[0]).
    """
    weight = bits("weight", pins)
    negative = ZERO
    for k in range(0, pins, 3):
        negative = writer.or_(negative, weight[k + 2])
    count = len(activation)
    any_below = [writer.assign("|{" + ", ".join(activation[: i + 1]) + "}") for i in range(count)]
    signed = [activation[0]]
    signed += [writer.xor(activation[i], writer.and_(negative, any_below[i - 1])) for i in range(1, count)]
    top = writer.mux(negative, writer.invert(activation[-1]), activation[-1])
    signed.append(writer.and_(top, any_below[-1]))  # one more bit, because -(-128) is 128
    product = [ZERO] * width
    for k in range(0, pins, 3):
        for shift, pin in ((k // 3 * 2, weight[k]), (k // 3 * 2 + 1, weight[k + 1])):
            for column in range(shift, width):
                term = writer.and_(pin, signed[min(column - shift, count)])
                product[column] = writer.or_(product[column], term)
    return product
