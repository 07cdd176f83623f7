"""Verilog of a small block of a layer with its weights as constants: y = W x, all products and sums in one cycle.

So networks run on FPGAs at hundreds of nanoseconds (HGQ, arXiv 2405.00645). Every multiplier has one constant operand.
"""

import numpy as np
from jaxtyping import Int16

from haloquant.errors import InputError

TOP = "block"


def constant_products(values: Int16[np.ndarray, "out in"], activation_bits: int) -> str:
    """Return the Verilog of the module `block` with inputs x0, x1 ... and outputs y0, y1 ..., all signed.

    The outputs hold every sum exactly.

    Args:
        values: The integer weights.
        activation_bits: Bits of an input.

    Raises:
        InputError: The bits are not 2 to 16.
    """
    if not 2 <= activation_bits <= 16:
        raise InputError(f"activation_bits of a block must be 2 to 16, not {activation_bits}")
    outputs, inputs = values.shape
    most = int(np.abs(values.astype(np.int64)).sum(axis=1).max(initial=1))
    width = activation_bits + max(1, most).bit_length() + 1
    ports = [f"  input signed [{activation_bits - 1}:0] x{i}" for i in range(inputs)]
    ports += [f"  output signed [{width - 1}:0] y{o}" for o in range(outputs)]
    lines = [f"module {TOP}(", ",\n".join(ports), ");"]
    for o, row in enumerate(values.tolist()):
        terms = " ".join(
            f"{'-' if value < 0 else '+'} {_constant(abs(value))} * x{i}" for i, value in enumerate(row) if value
        )
        lines.append(f"  assign y{o} = {width}'sd0 {terms};")
    return "\n".join([*lines, "endmodule", ""])


def _constant(magnitude: int) -> str:
    """Return a signed constant that is no wider than it must be, so that a multiplier of that width is made."""
    return f"{magnitude.bit_length() + 1}'sd{magnitude}"
