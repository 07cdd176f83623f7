"""Readers of Liberty cell libraries.

`syntax` parses the text into groups; `cells`, `tables` and `boolean_functions` convert them; `records` holds the result
and `table_interpolation` reads its tables. `parser` is the entry. `merging` makes one text of a library that comes in
several files.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
