// Runs a list of tiles through ws_array and prints the cycles from the first weight row to the last sum.
//
// weights.hex: R rows of C bytes per tile. tiles.hex: per tile the first activation column, the first output column, and
// whether the array must be drained before it. activations.hex: M rows of K bytes. Sums of M x N outputs go to sums.hex.

`timescale 1ns / 1ps
module ws_bench;
    parameter R = 8, C = 8, M = 1, K = 8, N = 8, TILES = 1, DOUBLE = 1;

    reg clk = 0;
    always #1 clk = ~clk;

    reg            load = 0, valid = 0, swap = 0;
    reg [15:0]     load_row = 0;
    reg [8*C-1:0]  weights = 0;
    reg [8*R-1:0]  activations = 0;
    wire [C-1:0]   out_valid;
    wire [32*C-1:0] out_sums;

    ws_array #(R, C) array (clk, load, load_row, weights, valid, swap, activations, out_valid, out_sums);

    reg [8*C-1:0] weight_rows [0:TILES*R-1];
    reg [31:0]    tile_list   [0:TILES*3-1];
    reg [7:0]     inputs      [0:M*K-1];
    reg [31:0]    sums        [0:M*N-1];
    integer out_tile [0:C-1];
    integer out_row  [0:C-1];

    integer t, i, c, r, loading, load_count, load_free, streaming, stream_row, stream_free, drain_free, finished, place;

    initial begin
        $readmemh("weights.hex", weight_rows);
        $readmemh("tiles.hex", tile_list);
        $readmemh("activations.hex", inputs);
        for (i = 0; i < M * N; i = i + 1) sums[i] = 0;
        for (c = 0; c < C; c = c + 1) begin
            out_tile[c] = 0;
            out_row[c] = 0;
        end
        t = 0; loading = 0; load_count = 0; streaming = 0; stream_row = 0;
        stream_free = 0; drain_free = 0; load_free = 0; finished = 0;
        while (finished < TILES * C) begin
            @(negedge clk);
            // sums of the cycle before
            for (c = 0; c < C; c = c + 1)
                if (out_valid[c]) begin
                    place = out_row[c] * N + tile_list[out_tile[c] * 3 + 1] + c;
                    sums[place] = sums[place] + out_sums[32*c +: 32];
                    out_row[c] = out_row[c] + 1;
                    if (out_row[c] == M) begin
                        out_row[c] = 0;
                        out_tile[c] = out_tile[c] + 1;
                        finished = finished + 1;
                    end
                end
            // stream: a tile starts when its weights are in, the one before has streamed, and has drained if it must
            valid = 0;
            swap = 0;
            if (stream_row == 0 && streaming < TILES && loading > streaming && t >= load_free && t >= stream_free
                && (!tile_list[streaming * 3 + 2] || t >= drain_free)) begin
                swap = 1;
                valid = 1;
                stream_free = t + M;
                drain_free = t + M + R + C - 2;
            end else if (stream_row > 0) valid = 1;
            if (valid) begin
                for (r = 0; r < R; r = r + 1)
                    activations[8*r +: 8] = inputs[stream_row * K + tile_list[streaming * 3] + r];
                stream_row = stream_row + 1;
            end
            // load: the shadow register is free as soon as the tile in it has started (or, without overlap, has drained)
            load = 0;
            if (load_count == 0 && loading < TILES
                && (loading == 0 || (DOUBLE ? (streaming == loading - 1 && stream_row > 0) || streaming >= loading
                                            : streaming >= loading && t >= drain_free)))
                load = 1;
            else if (load_count > 0) load = 1;
            if (load) begin
                load_row = load_count;
                weights = weight_rows[loading * R + load_count];
                load_count = load_count + 1;
                if (load_count == R) begin
                    load_count = 0;
                    loading = loading + 1;
                    load_free = t + 1;
                end
            end
            if (stream_row == M) begin
                stream_row = 0;
                streaming = streaming + 1;
            end
            t = t + 1;
        end
        $writememh("sums.hex", sums);
        $display("cycles %0d", t - 1);
        $finish;
    end
endmodule
