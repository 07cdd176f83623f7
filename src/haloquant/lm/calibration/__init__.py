"""Statistics of linear layers (Hessian, Fisher, input maxima) from calibration text.

`in_memory` runs the whole model; `by_block` runs one block at a time with `block_runner` on an `empty_model`, in the
tasks of `shard_tasks`, which `shards` computes. Both collect sums with `hessian`. `attention_hessian` adds the row
Hessians of attention, and `statistics_file` saves statistics.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
