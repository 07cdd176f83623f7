"""Packed models in other libraries.

`import_hook` runs at `import haloquant` and registers `transformers` (this package's module, with `expert_conversions`)
as soon as that library is imported. `vllm_plugin` is vLLM's entry point and imports `vllm`.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
