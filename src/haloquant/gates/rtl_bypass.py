"""Two-mode multipliers: ways around the tree for words of few digits, so that a codebook has a clock of its own.

The weight is stored as four radix-4 digits. `whole` multiplies with all of them. A word with one digit that is not zero
(0 and the powers of two) needs no addition: `lone` negates the activation where the digit is negative and shifts it. A
word whose two lower digits are zero (the multiples of 16, an INT4 grid) needs one addition: `upper`. The last gates
choose one of them by the weight, which stands still, so that timing of a word sees its own way only. Each module is
to be synthesized alone to its own period (`partitions` of `eda.yosys.synthesize`).
"""

from collections.abc import Sequence
from typing import Literal

from haloquant.gates.rtl_heap import ZERO, Adder, Net, Sheet, Tree, add, compress
from haloquant.gates.rtl_rows import bits, booth, stored_digits

Bypass = Literal["none", "lone", "upper", "both"]


def bypass_partitions(bypass: Bypass) -> tuple[str, ...]:
    """Return the modules that are to be synthesized alone, slowest first."""
    return {"none": (), "lone": ("whole", "lone"), "upper": ("whole", "upper"), "both": ("whole", "upper", "lone")}[
        bypass
    ]


def bypass_modules(bypass: Bypass, tree: Tree, adder: Adder, pins: int, activation_bits: int) -> str:
    """Return the Verilog of the modules that `choose_lines` uses."""
    text = ""
    for module in bypass_partitions(bypass):
        sheet = Sheet()
        activation = bits("activation", activation_bits)
        if module == "lone":
            width = pins // 3 * 2 + activation_bits
            result = _lone(sheet, pins, activation, width)
        else:
            own = pins if module == "whole" else pins // 2
            width = own // 3 * 2 + activation_bits
            rows = booth(sheet, stored_digits("weight", own), activation, width)
            result = add(sheet, adder, *compress(sheet, rows, width, tree))
        body = "".join(f"  {line}\n" for line in sheet.lines)
        inputs = f"input [{_own_pins(module, pins) - 1}:0] weight, input [{activation_bits - 1}:0] activation"
        product = "{" + ", ".join(reversed(result)) + "}"
        text += f"module {module} ({inputs}, output [{width - 1}:0] product);\n{body}"
        text += f"  assign product = {product};\nendmodule\n\n"
    return text


def choose_lines(bypass: Bypass, pins: int, width: int) -> list[str]:
    """Return the lines that make the wire `chosen`: one gate level of and-or behind the modules."""
    digits = pins // 3
    half = pins // 2
    lines = [f"wire idle{k} = ~(weight[{3 * k}] | weight[{3 * k + 1}]);" for k in range(digits)]
    lines.append(f"wire [{width - 1}:0] p; whole u_whole (.weight(weight), .activation(activation), .product(p));")
    terms: list[str] = []
    alone = "1'b0"
    if bypass in ("lone", "both"):
        alone = " | ".join("(" + " & ".join(f"idle{j}" for j in range(digits) if j != k) + ")" for k in range(digits))
        lines.append(f"wire [{width - 1}:0] l; lone u_lone (.weight(weight), .activation(activation), .product(l));")
        terms.append(f"({{{width}{{is_lone}}}} & l)")
    lines.append(f"wire is_lone = {alone};")
    upper = "1'b0"
    if bypass in ("upper", "both"):
        upper = " & ".join(f"idle{k}" for k in range(digits // 2)) + " & ~is_lone"
        shift = digits // 2 * 2
        lines.append(f"wire [{width - shift - 1}:0] u;")
        lines.append(f"upper u_upper (.weight(weight[{pins - 1}:{half}]), .activation(activation), .product(u));")
        terms.append(f"({{{width}{{is_upper}}}} & {{u, {shift}'b0}})")
    lines.append(f"wire is_upper = {upper};")
    lines.append("wire is_whole = ~is_lone & ~is_upper;")
    terms.append(f"({{{width}{{is_whole}}}} & p)")
    lines.append(f"wire [{width - 1}:0] chosen = {' | '.join(terms)};")
    return lines


def _own_pins(module: str, pins: int) -> int:
    return pins // 2 if module == "upper" else pins


def _lone(sheet: Sheet, pins: int, activation: Sequence[Net], width: int) -> list[Net]:
    """(-1)**negative * activation, then shifted to the one digit's place: no carry but that of the negation.

    -a has the bits a[i] xor (a[i-1] or ... or a[0]); the ors are a Kogge-Stone prefix.
    """
    weight = bits("weight", pins)
    negative = ZERO
    for k in range(0, pins, 3):
        negative = sheet.either(negative, weight[k + 2])
    count = len(activation)
    any_below = list(activation)
    step = 1
    while step < count:
        any_below = [
            sheet.either(any_below[i], any_below[i - step]) if i >= step else any_below[i] for i in range(count)
        ]
        step *= 2
    signed = [activation[0]]
    signed += [sheet.differ(activation[i], sheet.both(negative, any_below[i - 1])) for i in range(1, count)]
    top = sheet.choose(negative, sheet.inv(activation[-1]), activation[-1])
    signed.append(sheet.both(top, any_below[-1]))  # -(-128) is 128: one bit more
    product = [ZERO] * width
    for k in range(0, pins, 3):
        for shift, pin in ((k // 3 * 2, weight[k]), (k // 3 * 2 + 1, weight[k + 1])):
            for column in range(shift, width):
                term = sheet.both(pin, signed[min(column - shift, count)])
                product[column] = sheet.either(product[column], term)
    return product
