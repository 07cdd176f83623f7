"""What runs on an accelerator: a model's shape, its matrix products, and its tiles.

`model_shapes` gives the shape of a known model or of a config.json, as a `decoder_shape`. `prefill_decode` makes the
products of a prefill or a decode step from it, and `side_branches` those of low-rank branches. `synthetic_tiles` makes
tiles for the products where no weights are available.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
