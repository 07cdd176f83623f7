"""Quantize a checkpoint to HALO's packed form.

`job` does a `request`, after a `model_check`. `task_runner` gives the tasks of `checkpoint_passes` (`layer_tasks`,
`layer_rounding`) to an engine. `transform`, `class_words`, `allocation` (with `budgets` and `layer_costs`) choose
scales, words, classes. `stored_calibration`, `model_key` keep steps; `forecast` predicts cost; `shared_storage`
uploads. `reference` is slow and simple.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
