"""What attention says of tokens while a model runs.

`watch` shows queries and keys, `token_importance` scores tokens by them, and `comparison` compares two models by them.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
