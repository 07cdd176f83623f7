"""MACs of 8-bit floats in Verilog, as one would write them: the product alone, and with three kinds of sums."""

_PRODUCT = """
  wire [3:0] mw = {|weight[6:3], weight[2:0]}, ma = {|activation[6:3], activation[2:0]};
  wire [7:0] m = mw * ma;
  wire [4:0] e = (weight[6:3] ? weight[6:3] : 4'd1) + (activation[6:3] ? activation[6:3] : 4'd1) - 5'd2;
  wire minus = weight[7] ^ activation[7];
"""
# The exact product of two E4M3 numbers, in units of 2**-18; 32 bits do not hold the largest.
PRODUCT = f"""module mac (input [7:0] weight, input [7:0] activation, output [31:0] result);{_PRODUCT}
  wire [31:0] size = {{24'b0, m}} << e;
  assign result = minus ? -size : size;
endmodule"""
# The same in E5M2, in units of 2**-32, of which the lowest 40 bits are kept.
PRODUCT_E5M2 = """module mac (input [7:0] weight, input [7:0] activation, output [39:0] result);
  wire [2:0] mw = {|weight[6:2], weight[1:0]}, ma = {|activation[6:2], activation[1:0]};
  wire [5:0] m = mw * ma;
  wire [5:0] e = (weight[6:2] ? weight[6:2] : 5'd1) + (activation[6:2] ? activation[6:2] : 5'd1) - 6'd2;
  wire [39:0] size = {34'b0, m} << e;
  assign result = weight[7] ^ activation[7] ? -size : size;
endmodule"""
# The product added to a sum in fixed point, which wraps.
FIXED_SUM = f"""module mac (input [7:0] weight, input [7:0] activation, input [39:0] partial, output [39:0] result);
{_PRODUCT}
  wire [39:0] size = {{32'b0, m}} << e;
  assign result = partial + (minus ? -size : size);
endmodule"""
# The product added to a binary16 number and rounded to one: both become multiples of 2**-24 first.
FLOAT16_SUM = f"""module mac (input [7:0] weight, input [7:0] activation, input [15:0] partial, output [15:0] result);
{_PRODUCT}
  wire [43:0] product = {{36'b0, m}} << (e + 6);
  wire [43:0] addend = {{33'b0, |partial[14:10], partial[9:0]}} << (partial[14:10] ? partial[14:10] - 1 : 0);
  wire signed [44:0] total = (minus ? -$signed({{1'b0, product}}) : $signed({{1'b0, product}}))
                           + (partial[15] ? -$signed({{1'b0, addend}}) : $signed({{1'b0, addend}}));
  wire [43:0] size = total[44] ? -total : total;
  integer i;
  reg [5:0] drop;
  reg [43:0] kept, rest;
  reg [16:0] packed_size;
  always @* begin
    drop = 0;
    for (i = 11; i < 44; i = i + 1) if (size[i]) drop = i - 10;
    kept = size >> drop;
    rest = size - (kept << drop);
    if (drop != 0 && (rest << 1 > (44'd1 << drop) || (rest << 1 == (44'd1 << drop) && kept[0]))) kept = kept + 1;
    packed_size = ({{11'b0, drop}} << 10) + kept[16:0];
    if (packed_size > 17'h7c00) packed_size = 17'h7c00;
  end
  assign result = {{total[44], packed_size[14:0]}};
endmodule"""
