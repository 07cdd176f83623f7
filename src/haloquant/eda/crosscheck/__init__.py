"""Independent checks of our results with OpenSTA, Icarus Verilog and Verilator. Only tests and benchmarks use them.

`opensta` checks static timing. `timed_verilog` writes a netlist with its delays, and `icarus` simulates it.
`verilog_array` simulates an array of MACs, which `array_feed` gives its tiles. `processes` runs the programs.
"""
