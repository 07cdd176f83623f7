"""Statistics of linear layers (Hessian, Fisher, input maxima) from calibration text.

`in_memory` runs the whole model; `by_block` runs one block (`block_runner`) of an `empty_model` at a time, as
`shard_tasks` over `shards`, with its `block_arguments` and what earlier blocks have `handed_on`. `hessian`,
`value_hessian` and `attention_hessian` sum; `random_signs` probe for the Fisher. `paired_inputs` rounds layer after
layer. `expert_stand_ins` fills experts that few tokens reached; `statistics_file` saves.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
