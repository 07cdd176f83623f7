"""Mapped netlists as levelised arrays.

`yosys_json` decodes the file, `builder` numbers its nets, `levelization` sorts its gates. `parser` is the entry, with
the `Netlist`. `logic_check` verifies that a netlist computes weight * activation + partial; `format_check` does so for
small floats, and `float_check` for a sum that is a float.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
