"""Timeline of a simulated pass.

`segments` holds it as arrays, group by group; `events` turns a simulation into the tracks of a trace viewer.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
