// A weight-stationary systolic array: R rows (accumulation) by C columns, 8-bit weights and activations, 32-bit sums.
//
// Weights come one row per cycle into a shadow register; `swap`, which travels with the first activation row of a tile,
// moves them into place. Both are skewed by column as the activations are, so the next tile may be loaded from the cycle
// on in which the present one starts. One activation row (R values, unskewed) enters per cycle; column c gives the sum of
// the row that entered at cycle t at the end of cycle t + R - 1 + c.

module ws_element (
    input  wire               clk,
    input  wire               write,
    input  wire signed [7:0]  weight,
    input  wire               valid,
    input  wire               swap,
    input  wire signed [7:0]  activation,
    input  wire signed [31:0] sum,
    output reg                valid_out,
    output reg                swap_out,
    output reg  signed [7:0]  activation_out,
    output reg  signed [31:0] sum_out
);
    reg signed [7:0] shadow, held;
    wire signed [7:0]  used = swap ? shadow : held;
    wire signed [15:0] product = used * activation;

    initial begin
        valid_out = 0;
        swap_out = 0;
    end

    always @(posedge clk) begin
        if (write) shadow <= weight;
        if (swap) held <= shadow;
        valid_out <= valid;
        swap_out <= swap;
        activation_out <= activation;
        sum_out <= sum + {{16{product[15]}}, product};
    end
endmodule

// `cycles` registers in a row; none for 0.
module ws_delay #(parameter WIDTH = 1, parameter CYCLES = 0) (
    input  wire             clk,
    input  wire [WIDTH-1:0] in,
    output wire [WIDTH-1:0] out
);
    generate
        if (CYCLES == 0) begin : none
            assign out = in;
        end else begin : some
            reg [WIDTH*CYCLES-1:0] line;
            initial line = 0;
            if (CYCLES == 1) begin : one
                always @(posedge clk) line <= in;
            end else begin : more
                always @(posedge clk) line <= {line[WIDTH*(CYCLES-1)-1:0], in};
            end
            assign out = line[WIDTH*CYCLES-1 -: WIDTH];
        end
    endgenerate
endmodule

module ws_array #(parameter R = 8, parameter C = 8) (
    input  wire            clk,
    input  wire            load,             // a row of weights enters
    input  wire [15:0]     load_row,         // which
    input  wire [8*C-1:0]  weights,
    input  wire            valid,            // a row of activations enters
    input  wire            swap,             // and it is the first of a tile
    input  wire [8*R-1:0]  activations,
    output wire [C-1:0]    out_valid,
    output wire [32*C-1:0] out_sums
);
    // element (r, c): inputs [r][c], outputs [r][c+1] to the right and [r+1][c] down
    wire               go    [0:R-1][0:C];
    wire               first [0:R-1][0:C];
    wire signed [7:0]  act   [0:R-1][0:C];
    wire signed [31:0] sum   [0:R][0:C-1];
    wire               put   [0:C-1];
    wire [15:0]        row   [0:C-1];
    wire signed [7:0]  wgt   [0:C-1];

    genvar r, c;
    generate
        for (c = 0; c < C; c = c + 1) begin : columns
            ws_delay #(25, c) skew (clk, {load, load_row, weights[8*c +: 8]}, {put[c], row[c], wgt[c]});
            assign sum[0][c] = 32'sd0;
            assign out_sums[32*c +: 32] = sum[R][c];
            assign out_valid[c] = go[R-1][c+1];
        end
        for (r = 0; r < R; r = r + 1) begin : rows
            ws_delay #(10, r) skew (clk, {valid, swap, activations[8*r +: 8]}, {go[r][0], first[r][0], act[r][0]});
            for (c = 0; c < C; c = c + 1) begin : elements
                ws_element element (
                    clk, put[c] && row[c] == r, wgt[c], go[r][c], first[r][c], act[r][c], sum[r][c],
                    go[r][c+1], first[r][c+1], act[r][c+1], sum[r+1][c]
                );
            end
        end
    endgenerate
endmodule
