"""From the name of a MAC to its profile.

`catalogue` names every MAC that the generator knows and gives its Verilog, or reads a user's (`verilog_files`);
`profile_building` synthesizes, times and simulates it with a cell library. `mapping_search` compares synthesis scripts.
`constant_multipliers` counts what constant weights take on an FPGA.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
