"""Read GGUF files (https://github.com/ggml-org/ggml/blob/master/docs/gguf.md) as checkpoints.

`header` reads the metadata and the table of tensors, `tensors` the values of one tensor, and `layout` undoes what
llama.cpp's converter changed. `names` maps the names of a file to those of transformers, and `folder` makes the small
files of a Hugging Face folder from the metadata: the configuration and the tokenizer.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
