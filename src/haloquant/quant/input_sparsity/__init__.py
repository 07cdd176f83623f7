"""Inputs of layers that a token does without: scores and thresholds, and how sparsity is divided among layers.

`scores` holds the masks of one layer, `levels` the choice of a sparsity for every layer.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
