"""Functions about MACs.

`circuits` measures netlists with a cell library, `profiles` describes what was measured, and `libraries` merges the
files of a library.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
