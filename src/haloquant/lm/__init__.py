"""Language models: from a checkpoint to statistics, an exported model, and its evaluation.

`checkpoint` reads weights, `calibration` collects statistics, `export` writes models, `packed` reads packed ones,
`integrations` runs them, `evaluation` measures, `generation` times tokens, `recovery` trains scales. `text`: tokens.
`attention`, `input_sparsity`: what matters in a running model. `torch_model`, `model_class`, `model_check`,
`quiet_transformers`, `devices`, `available_memory`: a model in torch. `swap_weights`, `experts`, `tensor_names`: its
layers.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
