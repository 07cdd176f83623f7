"""Read model folders in Hugging Face format, one tensor at a time, without torch.

`reader` opens a folder (`model_config`, `architectures`, `model_files`, `safetensors`); `linear_layers` and
`full_precision_layers` list its matrices. `hub`, `remote` and `gguf` are other sources; `adapters` merges LoRA.
`completeness` checks that no tensor is missing, `config_values` numbers of a configuration, and `paths` names.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
