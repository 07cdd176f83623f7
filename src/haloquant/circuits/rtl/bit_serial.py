"""Verilog of a bit-serial MAC: one adder that processes one activation bit per cycle.

It is the comparison unit that needs more cycles instead of more gates. Its period depends on the weight by less than
1 %, because from the second cycle on the weight is in a shift register that toggles.
"""

from haloquant.circuits.ports import MacPorts
from haloquant.errors import NetlistError


def serial_ports(weight_bits: int = 8, activation_bits: int = 8, accumulator_bits: int = 24) -> MacPorts:
    """Return the ports of `generate_serial`; the result is ready after one clock edge for each activation bit."""
    return MacPorts(
        clock="clk",
        weight_bits=weight_bits,
        activation_bits=activation_bits,
        result_bits=accumulator_bits,
        latency=activation_bits,
    )


def generate_serial(weight_bits: int = 8, activation_bits: int = 8, accumulator_bits: int = 24) -> str:
    """Return the Verilog of a bit-serial MAC, top module `mac`. All registers start at 0, and the operands are
    constant.

    Cycle k adds weight * 2**k if bit k of the activation is 1; for the sign bit it subtracts.

    Raises:
        NetlistError: If the number of activation bits is not 2, 4, 8 or 16, or the accumulator is narrower than the
            product.
    """
    counter_bits = activation_bits.bit_length() - 1
    if activation_bits != 1 << counter_bits or activation_bits < 2:
        raise NetlistError(f"a bit-serial MAC must have 2, 4, 8 or 16 activation bits, not {activation_bits}")
    if accumulator_bits < weight_bits + activation_bits:
        raise NetlistError(
            f"the accumulator must have at least {weight_bits + activation_bits} bits, not {accumulator_bits}"
        )
    wide = accumulator_bits
    return f"""\
// bit-serial {weight_bits}x{activation_bits} signed MAC, {wide}-bit accumulator
module mac (input clk, input [{weight_bits - 1}:0] weight, input [{activation_bits - 1}:0] activation,
            input [{wide - 1}:0] partial, output [{wide - 1}:0] result);
  reg [{counter_bits - 1}:0] count;
  reg [{wide - 1}:0] shifted, total;
  wire first = count == 0;
  wire last = &count;
  wire bit_now = activation[count];
  wire [{wide - 1}:0] extended = {{{{{wide - weight_bits}{{weight[{weight_bits - 1}]}}}}, weight}};
  wire [{wide - 1}:0] current = first ? extended : shifted;
  wire [{wide - 1}:0] term = {{{wide}{{bit_now}}}} & (current ^ {{{wide}{{last}}}});
  always @(posedge clk) begin
    count <= count + 1;
    shifted <= current << 1;
    total <= (first ? partial : total) + term + (last & bit_now);
  end
  assign result = total;
endmodule
"""
