"""Other quantization methods, each from a weight and its statistics to a `records.LayerResult`.

`registry` lists them by preset name. Every method has a module: `rtn`, `gptq`, `boa`, `awq`, `smoothquant`, `spqr`,
`slim_llm`, `squeezellm`, `zeroquant` and `fbquant`. `parts` holds what several methods share.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
