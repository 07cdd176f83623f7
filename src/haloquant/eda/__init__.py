"""Other programs for electronic design: `yosys` synthesizes Verilog, and `fpga` maps it onto an FPGA.

`crosscheck` runs OpenSTA, Icarus Verilog and Verilator to check our own results; only tests and benchmarks use it.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
