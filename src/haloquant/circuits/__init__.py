"""From a MAC's netlist and a cell library to the delay and energy of every weight value.

`rtl` generates Verilog, `liberty` reads cell libraries, `netlist` reads mapped netlists (synthesis is `eda.yosys`).
`timing` computes static delays, `simulation` computes sensitised delays and energies. `characterization` combines all
of them in a `MacProfile`, whose entries on its origin `profile_provenance` writes. `ports` (read by `ports_file`)
describes the pins of a MAC, and `number_formats` the numbers on them.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
