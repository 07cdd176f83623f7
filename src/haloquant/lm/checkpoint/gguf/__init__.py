"""Read GGUF files (https://github.com/ggml-org/ggml/blob/master/docs/gguf.md) as checkpoints.

`header` (and `split`) reads metadata and the table of tensors, `tensors` values (by `package`), `layout` undoes the
converter's changes. `names` and `experts` give the names of transformers. `folder`, `config`, `tokenizer`
(`pre_tokenizers`) and `metadata_file` make the small files of a Hugging Face folder. `unread_values` refuses what
transformers would compute otherwise.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
