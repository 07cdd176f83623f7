"""Products with packed weights on CPU and GPU.

`dispatch` chooses the kernel by device: `cpu` (numba), `cuda` (CUDA C++), `triton`, or `fallback` (plain torch, also
the reference of the tests). `layer_tensors` prepares a layer for them, and `torch_operator` wraps the product for
`torch.compile`. `rounding` rounds layers in torch, with `float32_products` in an order of their own and
`bfloat16_products`. `device_copies` moves tensors, and `device_errors` says what a device refused.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
