"""Functions that simulate accelerators.

`simulation` compares HALO with its rivals on one machine, `studies` and `tile_orders` ask single questions, and
`design_search` searches elements, words and tiles. `fpga_cost` counts look-up tables and DSP blocks.
`measured_platforms` are what others reached. `inputs` reads the model and the machine; `result_tables` and
`result_files` turn what they find into rows and files.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
