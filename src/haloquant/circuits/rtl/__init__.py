"""Generators of MACs as Verilog text.

`generator` is the entry. `partial_products` makes rows of bits, `adder_trees` adds them down to two and `carry_adders`
adds these; `bypass` adds shortcuts for some weights; `carry_save` keeps the product in two words. `dot_products`,
`floating_point`, `bit_serial` and `constant_products` are elements of their own. `adder_cells` wraps the adder cells of
a library.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
