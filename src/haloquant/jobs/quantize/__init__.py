"""Quantize a checkpoint to HALO's packed form.

`job` is the entry. It sends the checkpoint through `checkpoint_passes` (scales of a `transform`, codebooks,
losses of tiles, layers), whose tasks (`layer_tasks`, `layer_rounding`) `task_runner` gives to an engine. `allocation`
chooses the class of each tile. `model_key` keys a packed model. `forecast` predicts time and memory.
`shared_storage` uploads the result. `reference` holds slow twins.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
