"""haloquant: hardware-aware quantization of language models.

The most used functions of `haloquant.api` are attributes of this package; each is imported at its first use. Importing
the package also registers packed HALO models with transformers, at once or when transformers is imported.
"""

import lazy_loader

from haloquant.lm.integrations.import_hook import register_with_transformers

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

register_with_transformers()
