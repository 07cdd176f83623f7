"""Read model folders in Hugging Face format, one tensor at a time, without torch.

`reader` opens a folder: `architectures` reads its configuration, `safetensors` its headers and tensors, and
`linear_layers` finds the layers to quantize. `remote` reads shared storage, `completeness` checks that nothing is
missing, and `paths` checks names of folders and shards.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
