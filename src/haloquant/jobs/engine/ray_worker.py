"""The function that runs one task in a Ray worker, with the arguments that the driver sent."""

from collections.abc import Iterator, Sequence
from typing import Any, no_type_check

import numpy as np

from haloquant.jobs.engine.array_pieces import Layout, cut, join
from haloquant.jobs.engine.tasks import Function
from haloquant.jobs.engine.threads import one_numba_thread, one_thread
from haloquant.jobs.engine.worker_device import bind_device


@no_type_check  # the type checks of the tests would wrap the function, and Ray needs to see a generator function
def run_ray_task(
    function: Function, argument: Any, device: str, layout: Sequence[Layout], *pieces: np.ndarray
) -> Iterator[Any]:
    """Run one task with one thread. Yield its small result with the layout of its arrays, then the arrays' pieces.

    Ray shows a worker that was asked for with a GPU this GPU alone, as the first.
    """
    one_numba_thread()
    if device != "cpu":
        bind_device("cuda:0")
    with one_thread():
        plain, made = function(argument, join(layout, pieces))
    made_layout, parts = cut(made)
    yield plain, made_layout
    for part in parts:  # noqa: UP028  Ray sends into the generator, and a list's iterator does not accept that
        yield part
