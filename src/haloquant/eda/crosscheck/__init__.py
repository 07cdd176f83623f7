"""Independent checks of our results with OpenSTA, Icarus Verilog and Verilator. Only tests and benchmarks use them."""
