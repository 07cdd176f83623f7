"""Packed HALO models: configuration, reading and verification, and the layer that computes from packed tensors.

`config` holds `quantization_config` and the digest, `reader` reads and verifies a folder without torch, `halo_linear`
is the torch layer, and `loading` loads a whole model through transformers. `tensor_state` notices tensors that were
changed. `token_step` computes a generated token from compiled parts, with the keys and values of `growing_cache`, and
`token_head` multiplies it with the head, in 16 or 8 bits. `decoded` keeps decoded weights for many short texts.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
