"""The packed format of one layer in HALO form.

`packing` turns a layer into named arrays and back; `bit_layout` describes how codes are stored in bytes, and
`input_masks` thresholds of inputs. `stored_bits` counts the stored bits without packing; `differences` counts those of
an update.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
