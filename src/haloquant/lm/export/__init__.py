"""Write quantized models: packed, dequantized, or in the compressed-tensors format.

`packed`, `dequantized` and `compressed_tensors` each take quantized layers one at a time. They share `original_files`
(tensors of the original model) and `model_folder` (shards, index, manifest). `folding` finds where input scales go;
`trained_scales` writes scales that were trained.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
