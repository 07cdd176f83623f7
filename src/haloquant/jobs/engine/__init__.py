"""Engines run independent tasks: in this process, in local worker processes, or on a Ray cluster.

`tasks` describes engines, tasks and sessions. `session` opens the workers of an engine: `local_pool` or `ray_cluster`
(`ray_worker`), which both take tasks through the loop in `task_feeding`. `array_pieces` cuts arrays for Ray's store.
`metering` measures time and memory, `threads` limits threads, `worker_device` gives a worker its GPU.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
